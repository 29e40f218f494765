// The reading side of the FUSE bench: no interpreter, so that the file system is what is measured.
//
//   fuse-client sequential FILE            bytes per second of one pass in reads of 1 MiB
//   fuse-client random FILE COUNT          reads of 4 KiB per second
//   fuse-client readers FILE COUNT         bytes per second of COUNT processes, each reading all of FILE-0, FILE-1…
//   fuse-client drop FILE                  reads it and drops its pages from the cache
//   fuse-client stat FOLDER COUNT          stats per second of FOLDER/f0 to f(COUNT-1)
//   fuse-client absent FOLDER COUNT NAME   stats per second of names that do not exist
//   fuse-client list FOLDER                entries per second, with getdents
//   fuse-client walk FOLDER                entries per second, with a stat for each
//   fuse-client open FILE COUNT            open, read 4 KiB, close per second
//   fuse-client latency FOLDER COUNT NAME  one stat of an absent name per millisecond: "median p99" in microseconds
//
// `drop`: on a virtual machine the first touch of memory that the guest has not used lately is the host's work, and
// costs more than the copying that is measured. The pages of the dropped file are what the next one gets.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(1);
}

int openFile(const char* path) {
  int fd = open(path, O_RDONLY);
  if (fd < 0) die(path);
  return fd;
}

uint64_t readAll(const char* path) {
  static std::vector<char> buffer(1 << 20);
  int fd = openFile(path);
  uint64_t total = 0;
  for (ssize_t got; (got = read(fd, buffer.data(), buffer.size())) != 0; total += static_cast<uint64_t>(got))
    if (got < 0) die("read");
  close(fd);
  return total;
}

double sequential(const char* path) {
  auto start = Clock::now();
  uint64_t bytes = readAll(path);
  return static_cast<double>(bytes) / secondsSince(start);
}

double randomReads(const char* path, long count) {
  int fd = openFile(path);
  struct stat facts {};
  fstat(fd, &facts);
  uint64_t blocks = static_cast<uint64_t>(facts.st_size) / 4096, state = 88172645463325252ull;
  char buffer[4096];
  auto start = Clock::now();
  for (long i = 0; i < count; ++i) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    if (pread(fd, buffer, sizeof(buffer), static_cast<off_t>(state % blocks * 4096)) != 4096) die("pread");
  }
  return static_cast<double>(count) / secondsSince(start);
}

double readers(const char* path, long count) {
  struct stat facts {};
  auto name = [&](long i) { return std::string(path) + "-" + std::to_string(i); };
  stat(name(0).c_str(), &facts);
  auto start = Clock::now();
  for (long i = 0; i < count; ++i) {
    if (fork() == 0) {
      readAll(name(i).c_str());
      _exit(0);
    }
  }
  int status = 0;
  for (long i = 0; i < count; ++i)
    if (wait(&status) < 0 || status != 0) die("reader");
  return static_cast<double>(facts.st_size) * static_cast<double>(count) / secondsSince(start);
}

double stats(const char* folder, long count) {
  int fd = openFile(folder);
  std::vector<std::string> names;
  for (long i = 0; i < count; ++i) names.push_back("f" + std::to_string(i));
  struct stat facts {};
  auto start = Clock::now();
  for (const std::string& name : names)
    if (fstatat(fd, name.c_str(), &facts, AT_SYMLINK_NOFOLLOW) != 0) die(name.c_str());
  return static_cast<double>(count) / secondsSince(start);
}

double absent(const char* folder, long count, const std::string& prefix) {
  int fd = openFile(folder);
  struct stat facts {};
  auto start = Clock::now();
  for (long i = 0; i < count; ++i)
    if (fstatat(fd, (prefix + std::to_string(i)).c_str(), &facts, 0) == 0) die("it exists");
  return static_cast<double>(count) / secondsSince(start);
}

double list(const char* folder, bool withStat) {
  auto start = Clock::now();
  DIR* directory = opendir(folder);
  if (directory == nullptr) die(folder);
  struct stat facts {};
  long count = 0;
  for (dirent* entry; (entry = readdir(directory)) != nullptr; ++count)
    if (withStat && fstatat(dirfd(directory), entry->d_name, &facts, AT_SYMLINK_NOFOLLOW) != 0) die(entry->d_name);
  closedir(directory);
  return static_cast<double>(count) / secondsSince(start);
}

double opens(const char* path, long count) {
  char buffer[4096];
  auto start = Clock::now();
  for (long i = 0; i < count; ++i) {
    int fd = openFile(path);
    if (pread(fd, buffer, sizeof(buffer), 0) <= 0) die("pread");
    close(fd);
  }
  return static_cast<double>(count) / secondsSince(start);
}

void drop(const char* path) {
  readAll(path);
  int fd = openFile(path);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  close(fd);
}

void latency(const char* folder, long count, const std::string& prefix) {
  int fd = openFile(folder);
  struct stat facts {};
  std::vector<double> micros;
  for (long i = 0; i < count; ++i) {
    std::string name = prefix + std::to_string(i);
    auto start = Clock::now();
    fstatat(fd, name.c_str(), &facts, 0);
    micros.push_back(secondsSince(start) * 1e6);
    usleep(1000);
  }
  std::sort(micros.begin(), micros.end());
  std::printf("%.1f %.1f\n", micros[micros.size() / 2], micros[micros.size() * 99 / 100]);
}

}  // namespace

int main(int argc, char** argv) {
  std::string mode = argc > 2 ? argv[1] : "";
  const char* path = argc > 2 ? argv[2] : "";
  long count = argc > 3 ? std::atol(argv[3]) : 0;
  std::string name = argc > 4 ? argv[4] : "";
  if (mode == "latency") {
    latency(path, count, name);
    return 0;
  }
  if (mode == "drop") {
    drop(path);
    std::puts("0");
    return 0;
  }
  double value = mode == "sequential" ? sequential(path)
                 : mode == "random"   ? randomReads(path, count)
                 : mode == "readers"  ? readers(path, count)
                 : mode == "stat"     ? stats(path, count)
                 : mode == "absent"   ? absent(path, count, name)
                 : mode == "list"     ? list(path, false)
                 : mode == "walk"     ? list(path, true)
                 : mode == "open"     ? opens(path, count)
                                      : -1;
  if (value < 0) return 2;
  std::printf("%.1f\n", value);
  return 0;
}
