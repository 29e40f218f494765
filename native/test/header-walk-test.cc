// Walking over the headers of an archive, without Node.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "../src/tar/polled-read.h"
#include "check.h"
#include "sample-archive.h"
#include "walk-check.h"

using namespace imgfs;

namespace {

std::string archiveOf(const std::vector<std::pair<std::string, size_t>>& members) {
  std::string archive;
  for (const auto& [name, bytes] : members) archive += tarEntry(name, std::string(bytes, 'x'));
  return archive + std::string(1024, '\0');
}

}  // namespace

TEST(walkFindsAll, "a walk finds small and large members, whole and in steps") {
  const std::string archive = archiveOf({{"a", 10}, {"big", 300'000}, {"b", 0}, {"c", 40'000}, {"d", 513}});
  CHECK(wrongWalks(archive) == nullptr);
  const MemoryFile file(archive);
  const HeaderWalk walk = walkHeaders(file.fd(), 0, archive.size(), 1'000'000);
  CHECK_EQUAL(walk.headers.size(), 5);
  CHECK(walk.names == std::string("a\0\0big\0\0b\0\0c\0\0d\0\0", 17));
}

TEST(walkParts, "a walk in parts hands over each while it goes on, and the end of the archive with the first") {
  std::vector<std::pair<std::string, size_t>> members;
  for (size_t at = 0; at < 50; ++at) members.emplace_back("layer" + std::to_string(at), 50'000 + at);
  members.emplace_back("manifest.json", 700);
  const std::string archive = archiveOf(members);
  CHECK(wrongWalks(archive) == nullptr);
  const MemoryFile file(archive);
  std::vector<HeaderWalk> parts;
  // Size 0: that of the file.
  walkHeadersInParts(file.fd(), 0, 0, 1'000'000, [&](HeaderWalk&& part) { parts.push_back(std::move(part)); });
  CHECK(parts.size() >= 3);
  CHECK_EQUAL(parts[0].headers.size(), 4);
  CHECK_EQUAL(parts[0].endBytes.size(), 65536);
  CHECK(std::string(parts[0].endBytes.begin(), parts[0].endBytes.end()).find("manifest.json") != std::string::npos);
  CHECK(parts[1].endBytes.empty());
}

TEST(walkCut, "an archive that is cut anywhere is walked to where it is cut") {
  const std::string archive = archiveOf({{"a", 10}, {"b", 2000}, {"c", 600}});
  for (size_t length = 0; length < archive.size(); length += 101) {
    CHECK(wrongWalks(archive.substr(0, length)) == nullptr);
  }
}

TEST(walkDamaged, "a header with any byte changed ends a walk or is another header") {
  const std::string archive = archiveOf({{"a", 10}, {"b", 2000}});
  for (size_t at = 0; at < 512; ++at) {
    for (const char byte : {'\0', '7', '\x80', '\xff'}) {
      std::string damaged = archive;
      damaged[1024 + at] = byte;
      CHECK(wrongWalks(damaged) == nullptr);
    }
  }
}

TEST(polledReads, "reads that wait awake give what is there, and say why there is no more") {
  std::FILE* disk = std::tmpfile();
  CHECK(disk != nullptr);
  const int fd = fileno(disk);
  std::string bytes(300'000, 'x');
  for (size_t at = 0; at < bytes.size(); ++at) bytes[at] = static_cast<char>(at * 7 + at / 256);
  CHECK_EQUAL(pwrite(fd, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  fsync(fd);
  PolledReader reader(fd);
  for (const size_t at : {0u, 1u, 4095u, 200'000u, 299'999u, 300'000u, 400'000u}) {
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    std::string got(5000, '\0');
    int error = 0;
    const size_t length = reader.read(reinterpret_cast<uint8_t*>(&got[0]), got.size(), at, error);
    CHECK_EQUAL(error, 0);
    CHECK_EQUAL(length, at < bytes.size() ? std::min<size_t>(5000, bytes.size() - at) : 0);
    CHECK(length == 0 || bytes.compare(at, length, got, 0, length) == 0);
  }
  std::fclose(disk);
  uint8_t byte = 0;
  int error = 0;
  PolledReader closed(-1);
  CHECK_EQUAL(closed.read(&byte, 1, 0, error), 0);
  CHECK_EQUAL(error, EBADF);
}
