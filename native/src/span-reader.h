// Decodes spans of a layer: the first from a place where decoding can start, others that follow it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "decoder.h"

namespace imgfs {

enum class SpanResult : uint32_t {
  ok,
  // The blob's bytes are not those that were indexed.
  wrongInput,
  // They are, but index and blob do not fit together: the index is damaged.
  wrongIndex,
};

// By what a span is known to be right.
enum class SpanCheck : uint32_t {
  // sha256 of what goes in, CRC-32 of what comes out.
  both,
  // sha256 of what goes in: an index that says nothing about what comes out (SOCI).
  input,
  // sha256 of what comes out, from a byte on that `crc` tells: chunks of eStargz and zstd:chunked.
  output,
};

class SpanReader {
 public:
  // `window` is raw deflate; inflated it has `windowLength` bytes, 0: no window is needed.
  SpanReader(Format format, StartKind kind, uint8_t bits, const uint8_t* window, size_t windowStored,
             size_t windowLength);

  // False when zstd is asked for without libzstd.
  bool ready() const { return decoder_ != nullptr; }

  // Decode the next span: its bytes of the blob, room for exactly what it yields, and what both must be.
  SpanResult read(const uint8_t* input, size_t inputLength, uint8_t* output, size_t outputLength,
                  const uint8_t sha256[32], uint32_t crc, SpanCheck check = SpanCheck::both);

 private:
  bool begin(const uint8_t*& input, size_t& inputLength);

  std::unique_ptr<Decoder> decoder_;
  Start start_;
  bool begun_ = false;
  bool broken_ = false;
  // Input of earlier spans that their output did not need.
  std::vector<uint8_t> left_;
};

}  // namespace imgfs
