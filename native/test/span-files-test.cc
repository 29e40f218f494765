// Decoding spans from file to file, without Node.
#include "../src/span-files.h"
#include "check.h"
#include "memory-file.h"
#include "pass-run.h"

using namespace imgfs;

namespace {

constexpr uint64_t kSpanBytes = 1 << 20;

std::vector<uint8_t> recordsOf(const std::vector<SpanRecord>& spans) {
  std::vector<uint8_t> bytes(spans.size() * sizeof(SpanRecord));
  memcpy(bytes.data(), spans.data(), bytes.size());
  return bytes;
}

struct Run {
  std::unique_ptr<SpanReader> reader;
  std::vector<SpanRecord> spans;
};

std::vector<Run> runsOf(const PassResult& pass, Format format) {
  std::vector<Run> runs;
  size_t windowAt = 0;
  for (const SpanRecord& span : pass.spans) {
    const auto kind = static_cast<StartKind>(span.kind);
    if (kind != StartKind::inside) {
      runs.push_back({std::make_unique<SpanReader>(format, kind, span.bits, pass.windows.data() + windowAt,
                                                   span.windowStored, span.windowLength),
                      {}});
    }
    windowAt += span.windowStored;
    runs.back().spans.push_back(span);
  }
  return runs;
}

struct Ground {
  std::string archive = sampleArchive(200);
  std::string blob = gzipBytes(archive, 6);
  PassResult pass = runPass(blob, Format::gzip, kSpanBytes, 1 << 20);
};

}  // namespace

TEST(filesWhole, "span files: all runs together write the archive, and what is written counts as right") {
  const Ground ground;
  const MemoryFile blob(ground.blob), decoded;
  for (Run& run : runsOf(ground.pass, Format::gzip)) {
    const FilesOutcome outcome = decodeBetweenFiles(*run.reader, recordsOf(run.spans), blob.fd(), decoded.fd());
    CHECK(outcome.result == FilesResult::ok);
    CHECK_EQUAL(outcome.done, run.spans.size());
  }
  CHECK(decoded.bytes(ground.archive.size() + 1) == ground.archive);
  CHECK_EQUAL(countRight(recordsOf(ground.pass.spans), decoded.fd()), ground.pass.spans.size());
}

TEST(filesDamage, "span files: a wrong byte stops before its span, which can still be read from elsewhere") {
  const Ground ground;
  Run run = std::move(runsOf(ground.pass, Format::gzip).front());
  CHECK(run.spans.size() > 2);
  const SpanRecord& second = run.spans[1];
  MemoryFile blob(ground.blob);
  const MemoryFile decoded;
  blob.flip(static_cast<size_t>(second.inEnd) - 2);
  const FilesOutcome outcome = decodeBetweenFiles(*run.reader, recordsOf(run.spans), blob.fd(), decoded.fd());
  CHECK(outcome.result == FilesResult::wrongInput);
  CHECK_EQUAL(outcome.done, size_t{1});
  CHECK_EQUAL(decoded.bytes(ground.archive.size()).size(), static_cast<size_t>(second.out));
  std::vector<uint8_t> output(static_cast<size_t>(second.outEnd - second.out));
  const auto* right = bytesOf(ground.blob) + static_cast<size_t>(second.in);
  CHECK(run.reader->read(right, static_cast<size_t>(second.inEnd - second.in), output.data(), output.size(),
                         second.sha256, second.crc) == SpanResult::ok);
}

TEST(filesTrouble, "span files: what cannot be read or written is told, also a descriptor that is none") {
  const Ground ground;
  const auto first = [&ground] { return std::move(runsOf(ground.pass, Format::gzip).front()); };
  const MemoryFile blob(ground.blob), cut(ground.blob.substr(0, 10)), decoded;
  Run run = first();
  const auto records = recordsOf(run.spans);
  CHECK(decodeBetweenFiles(*run.reader, records, -1, decoded.fd()).result == FilesResult::notRead);
  CHECK(decodeBetweenFiles(*run.reader, records, cut.fd(), decoded.fd()).result == FilesResult::notRead);
  // Nothing was taken by then.
  CHECK(decodeBetweenFiles(*run.reader, records, blob.fd(), -1).result == FilesResult::notWritten);
  CHECK_EQUAL(countRight(records, -1), size_t{0});
  CHECK_EQUAL(countRight(records, cut.fd()), size_t{0});
  const OwnedFd none(-1);
  CHECK(none.get() < 0);
}

TEST(filesCount, "span files: counting stops at the first byte that is wrong") {
  const Ground ground;
  MemoryFile decoded(ground.archive);
  const auto records = recordsOf(ground.pass.spans);
  CHECK_EQUAL(countRight(records, decoded.fd()), ground.pass.spans.size());
  decoded.flip(static_cast<size_t>(ground.pass.spans[2].out) + 5);
  CHECK_EQUAL(countRight(records, decoded.fd()), size_t{2});
}
