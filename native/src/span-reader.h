// Decodes one span of a layer, alone.
#pragma once

#include <cstdint>

#include "decoder.h"

namespace imgfs {

struct SpanRequest {
  Format format = Format::gzip;
  StartKind kind = StartKind::fresh;
  uint8_t bits = 0;
  // The blob's bytes [in, inEnd); with `bits`, the first holds the left-over bits.
  const uint8_t* input = nullptr;
  size_t inputLength = 0;
  // Raw deflate of the window, and its length when inflated; 0: no window is needed.
  const uint8_t* window = nullptr;
  size_t windowStored = 0;
  size_t windowLength = 0;
  uint8_t* output = nullptr;
  size_t outputLength = 0;
  uint8_t sha256[32] = {};
  uint32_t crc = 0;
};

enum class SpanResult : uint32_t {
  ok,
  // The blob's bytes are not those that were indexed.
  wrongInput,
  // They are, but index and blob do not fit together: the index is damaged.
  wrongIndex,
  unsupported,
};

SpanResult readSpan(const SpanRequest& request);

}  // namespace imgfs
