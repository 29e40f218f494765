// Index passes and span reading without Node.
#include <thread>

#include "check.h"
#include "pass-run.h"

using namespace imgfs;

namespace {

// As the product has it.
constexpr uint64_t kSpanBytes = 1 << 20;

struct Packed {
  const char* name;
  Format format;
  std::string blob;
};

std::vector<Packed> packings(const std::string& archive) {
  return {
      {"plain", Format::plain, archive},
      {"gzip", Format::gzip, gzipBytes(archive, 6)},
      {"stored", Format::gzip, gzipBytes(archive, 0)},
      {"members", Format::gzip, gzipBytes(archive, 6, archive.size() / 3)},
      {"many", Format::gzip, gzipBytes(archive, 1, 4096)},
  };
}

}  // namespace

TEST(passSpans, "pass: every span of every packing decodes to what the pass saw, in pieces of any length") {
  const std::string archive = sampleArchive(400);
  for (const Packed& packed : packings(archive)) {
    for (const size_t pieceBytes : {size_t{7777}, size_t{1} << 20}) {
      const PassResult pass = runPass(packed.blob, packed.format, kSpanBytes, pieceBytes);
      CHECK(pass.ok);
      CHECK(pass.decoded == archive);
      CHECK(pass.spans.size() > 5);
      CHECK_EQUAL(firstWrongSpan(pass, packed.blob, packed.format), -1);
    }
  }
}

TEST(passShortSpans, "pass: spans that are cut before it is known what refers to the window decode as well") {
  const std::string archive = sampleArchive(100);
  for (const Packed& packed : packings(archive)) {
    const PassResult pass = runPass(packed.blob, packed.format, 64 * 1024, 5000);
    CHECK(pass.ok);
    CHECK_EQUAL(firstWrongSpan(pass, packed.blob, packed.format), -1);
  }
}

TEST(passDamage, "pass: a flipped bit anywhere is told by the spans that need it, and by no other") {
  const std::string archive = sampleArchive(100);
  for (const Packed& packed : packings(archive)) {
    const PassResult pass = runPass(packed.blob, packed.format, kSpanBytes, 1 << 20);
    CHECK(pass.ok);
    uint32_t seed = 1;
    for (int round = 0; round < 50; ++round) {
      seed = seed * 1664525 + 1013904223;
      const size_t at = seed % packed.blob.size();
      std::string bad = packed.blob;
      bad[at] = static_cast<char>(bad[at] ^ (1 << (seed >> 13 & 7)));
      CHECK_EQUAL(firstWrongSpan(pass, bad, packed.format, at), -1);
    }
  }
}

TEST(passCut, "pass: a blob that is cut never ends well") {
  const std::string archive = sampleArchive(100);
  const std::string blob = gzipBytes(archive, 6);
  for (size_t length = 1; length < blob.size(); length += blob.size() / 97) {
    CHECK(!runPass(blob.substr(0, length), Format::gzip, kSpanBytes, 4096).ok);
  }
}

TEST(passResume, "pass: what was saved goes on to the same end") {
  const std::string archive = sampleArchive(400);
  for (const Packed& packed : packings(archive)) {
    const PassResult whole = runPass(packed.blob, packed.format, kSpanBytes, 5000);
    const PassResult half = runPass(packed.blob.substr(0, packed.blob.size() / 2), packed.format, kSpanBytes, 5000);
    IndexerOptions options;
    options.format = packed.format;
    options.spanBytes = kSpanBytes;
    LayerIndexer indexer(options);
    CHECK(indexer.restore(half.saved.data(), half.saved.size()));
    PassResult rest;
    feedPieces(indexer, packed.blob, indexer.inTotal(), 5000, rest);
    CHECK(rest.error.empty());
    CHECK(indexer.finish());
    CHECK(indexer.digest() == whole.digest);
    CHECK_EQUAL(indexer.outTotal(), archive.size());
    for (size_t length = 0; length < half.saved.size(); length += 1 + length / 50) {
      LayerIndexer other(options);
      CHECK(!other.restore(half.saved.data(), length));
    }
  }
}

TEST(passThreads, "pass: layers are indexed and read by several threads at once") {
  const std::string archive = sampleArchive(20);
  const std::vector<Packed> all = packings(archive);
  std::vector<std::thread> threads;
  std::vector<int> wrong(all.size(), 0);
  for (size_t index = 0; index < all.size(); ++index) {
    threads.emplace_back([&all, &wrong, index] {
      const Packed& packed = all[index];
      hasZstd();
      const PassResult pass = runPass(packed.blob, packed.format, kSpanBytes, 3000);
      wrong[index] = pass.ok ? firstWrongSpan(pass, packed.blob, packed.format) : 1;
    });
  }
  for (auto& thread : threads) thread.join();
  for (const int each : wrong) CHECK_EQUAL(each, -1);
}
