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

class SpanReader {
 public:
  // `window` is raw deflate; inflated it has `windowLength` bytes, 0: no window is needed.
  SpanReader(Format format, StartKind kind, uint8_t bits, const uint8_t* window, size_t windowStored,
             size_t windowLength);

  // False when zstd is asked for without libzstd.
  bool ready() const { return decoder_ != nullptr; }

  // Decode the next span: its bytes of the blob, room for exactly what it yields, and what both must be.
  SpanResult read(const uint8_t* input, size_t inputLength, uint8_t* output, size_t outputLength,
                  const uint8_t sha256[32], uint32_t crc);

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
