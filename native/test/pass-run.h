// A whole index pass in memory, and reading by what it found: shared by tests and the fuzzer.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "../src/layer-indexer.h"
#include "../src/span-reader.h"
#include "sample-archive.h"

namespace imgfs {

struct PassResult {
  bool ok = false;
  std::string error, digest;
  std::vector<SpanRecord> spans;
  std::vector<uint8_t> windows, entries;
  // Decoded bytes, also those of a span that was never closed.
  std::string decoded;
  // The newest place to go on from.
  std::vector<uint8_t> saved;
};

inline void gather(LayerIndexer& indexer, PassResult& result) {
  const auto entries = indexer.takeEntries();
  result.entries.insert(result.entries.end(), entries.begin(), entries.end());
  const auto windows = indexer.takeWindows();
  result.windows.insert(result.windows.end(), windows.begin(), windows.end());
  const auto spans = indexer.takeSpans();
  for (size_t at = 0; at < spans.size(); at += sizeof(SpanRecord)) {
    SpanRecord record;
    std::memcpy(&record, spans.data() + at, sizeof record);
    result.spans.push_back(record);
  }
}

// Feed `blob` from `start` on in pieces. Stops at the first error.
inline void feedPieces(LayerIndexer& indexer, const std::string& blob, size_t start, size_t pieceBytes,
                       PassResult& result) {
  for (size_t at = start; at < blob.size();) {
    const size_t length = std::min(pieceBytes, blob.size() - at);
    const size_t taken = indexer.step(bytesOf(blob) + at, length, 1 << 20, 1000);
    gather(indexer, result);
    result.error = indexer.error();
    if (!result.error.empty()) return;
    at += taken;
  }
}

inline PassResult runPass(const std::string& blob, Format format, uint64_t spanBytes, size_t pieceBytes) {
  PassResult result;
  IndexerOptions options;
  options.format = format;
  options.spanBytes = spanBytes;
  LayerIndexer indexer(options);
  const int fd = memfd_create("decoded", MFD_CLOEXEC);
  indexer.keepDecodedIn(fd);
  feedPieces(indexer, blob, 0, pieceBytes, result);
  if (result.error.empty()) {
    result.ok = indexer.finish();
    gather(indexer, result);
    result.error = indexer.error();
    result.digest = indexer.digest();
  }
  result.saved = indexer.saved();
  result.decoded.resize(indexer.outTotal());
  const ssize_t got = pread(fd, &result.decoded[0], result.decoded.size(), 0);
  result.decoded.resize(got < 0 ? 0 : static_cast<size_t>(got));
  close(fd);
  return result;
}

// Decode every span, each run from its start. The number of the first span that is not what the pass saw, or -1.
// `damage`: one byte of the blob that is wrong; its spans must say so.
inline int firstWrongSpan(const PassResult& pass, const std::string& blob, Format format, size_t damage = SIZE_MAX) {
  size_t windowAt = 0;
  std::unique_ptr<SpanReader> reader;
  bool broken = false;
  for (size_t index = 0; index < pass.spans.size(); ++index) {
    const SpanRecord& span = pass.spans[index];
    const auto in = static_cast<size_t>(span.in), inEnd = static_cast<size_t>(span.inEnd);
    const auto out = static_cast<size_t>(span.out), outEnd = static_cast<size_t>(span.outEnd);
    const auto kind = static_cast<StartKind>(span.kind);
    if (kind != StartKind::inside || !reader) {
      reader = std::make_unique<SpanReader>(format, kind, span.bits, pass.windows.data() + windowAt,
                                            span.windowStored, span.windowLength);
      broken = false;
    }
    windowAt += span.windowStored;
    std::vector<uint8_t> output(outEnd - out);
    const SpanResult got =
        reader->read(bytesOf(blob) + in, inEnd - in, output.data(), output.size(), span.sha256, span.crc);
    if (damage >= in && damage < inEnd) {
      // Seen by its digest, before anything is decoded.
      if (got != SpanResult::wrongInput) return static_cast<int>(index);
      broken = true;
    } else if (!broken) {
      if (got != SpanResult::ok) return static_cast<int>(index);
      if (pass.decoded.compare(out, output.size(), reinterpret_cast<const char*>(output.data()), output.size()) != 0) {
        return static_cast<int>(index);
      }
    }
  }
  return -1;
}

}  // namespace imgfs
