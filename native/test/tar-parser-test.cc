// The tar parser without Node: any way to cut its input, and going on from a saved state, give the same entries.
#include "../src/tar/parser.h"

#include <algorithm>

#include "check.h"
#include "sample-archive.h"

using namespace imgfs;

namespace {

std::vector<uint8_t> parsePieces(const std::string& archive, size_t pieceBytes) {
  TarParser parser;
  for (size_t at = 0; at < archive.size(); at += pieceBytes) {
    CHECK(parser.feed(bytesOf(archive) + at, std::min(pieceBytes, archive.size() - at)));
  }
  CHECK(parser.end());
  return parser.takeEntries();
}

std::vector<uint8_t> savedState(const TarParser& parser) {
  std::vector<uint8_t> state;
  ByteWriter writer(state);
  parser.save(writer);
  return state;
}

}  // namespace

TEST(tarPieces, "tar: pieces of any length give the same entries") {
  const std::string archive = sampleArchive(20);
  const auto whole = parsePieces(archive, archive.size());
  CHECK(whole.size() > 20 * 80);
  for (const size_t pieceBytes : {1, 3, 511, 512, 513, 4096}) CHECK(parsePieces(archive, pieceBytes) == whole);
}

TEST(tarRestore, "tar: a saved state goes on where it stood, at every 100th byte") {
  const std::string archive = sampleArchive(5);
  const auto whole = parsePieces(archive, archive.size());
  for (size_t cut = 0; cut < archive.size(); cut += 100) {
    TarParser first;
    CHECK(first.feed(bytesOf(archive), cut));
    auto entries = first.takeEntries();
    const auto state = savedState(first);
    TarParser second;
    ByteReader reader(state.data(), state.size());
    CHECK(second.restore(reader));
    CHECK(second.feed(bytesOf(archive) + cut, archive.size() - cut));
    CHECK(second.end());
    const auto rest = second.takeEntries();
    entries.insert(entries.end(), rest.begin(), rest.end());
    CHECK(entries == whole);
  }
}

TEST(tarStateCut, "tar: a state that is cut is refused at any length") {
  const std::string archive = sampleArchive(5);
  TarParser parser;
  CHECK(parser.feed(bytesOf(archive), 1200));
  const auto state = savedState(parser);
  for (size_t length = 0; length < state.size(); ++length) {
    TarParser other;
    ByteReader reader(state.data(), length);
    CHECK(!other.restore(reader));
  }
}

TEST(tarCut, "tar: an archive that breaks off inside an entry is refused, one without its end is not") {
  const std::string entry = tarEntry("file", std::string(1000, 'x'));
  const auto ends = [&entry](size_t length) {
    TarParser parser;
    CHECK(parser.feed(bytesOf(entry), length));
    return parser.end();
  };
  CHECK(ends(0));
  CHECK(!ends(100));
  CHECK(!ends(512 + 999));
  CHECK(ends(512 + 1000));
  CHECK(ends(entry.size()));
}

TEST(tarBits, "tar: a flipped bit in a header never passes unseen") {
  const std::string header = tarHeader("name", 0);
  for (size_t bit = 0; bit < header.size() * 8; ++bit) {
    std::string bad = header;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    TarParser parser;
    const bool isRead = parser.feed(bytesOf(bad), bad.size());
    // In the checksum's own field the same number can be written in several ways.
    const size_t at = bit / 8;
    CHECK(!isRead || (at >= 148 && at < 156));
  }
}
