#include "span-reader.h"

#include <cstring>

#include "hashes.h"

namespace imgfs {

namespace {

// Bytes of a span that may be left over for the next one: a decoder looks ahead by less than a block.
constexpr size_t kMaxLeft = 4 << 20;

bool outputMatches(const uint8_t* output, size_t length, uint32_t actual, const uint8_t sha256[32], uint32_t crc,
                   SpanCheck check) {
  if (check == SpanCheck::input) return true;
  if (check == SpanCheck::output) {
    if (crc > length) return false;
    uint8_t digest[32];
    sha256Of(output + crc, length - crc, digest);
    return memcmp(digest, sha256, sizeof digest) == 0;
  }
  return actual == crc;
}

}  // namespace

SpanReader::SpanReader(Format format, StartKind kind, uint8_t bits, const uint8_t* window, size_t windowStored,
                       size_t windowLength)
    : decoder_(makeDecoder(format, false)) {
  start_.kind = kind;
  start_.bits = bits;
  if (windowLength == 0) return;
  start_.window.resize(windowLength);
  broken_ = !inflateBytes(window, windowStored, start_.window);
}

bool SpanReader::begin(const uint8_t*& input, size_t& inputLength) {
  uint8_t firstByte = 0;
  if (start_.bits > 0) {
    if (inputLength == 0) return false;
    firstByte = *input;
    ++input;
    --inputLength;
  }
  begun_ = true;
  return decoder_->begin(start_, firstByte);
}

SpanResult SpanReader::read(const uint8_t* input, size_t inputLength, uint8_t* output, size_t outputLength,
                            const uint8_t sha256[32], uint32_t crc, SpanCheck check) {
  if (check != SpanCheck::output) {
    uint8_t digest[32];
    sha256Of(input, inputLength, digest);
    if (memcmp(digest, sha256, sizeof digest) != 0) return SpanResult::wrongInput;
  }
  if (broken_) return SpanResult::wrongIndex;
  broken_ = true;
  if (!begun_ && !begin(input, inputLength)) return SpanResult::wrongIndex;

  uint8_t* out = output;
  size_t outLength = outputLength;
  const auto drain = [&](const uint8_t*& in, size_t& inLength) {
    while (outLength > 0) {
      const uint8_t* const inBefore = in;
      const uint8_t* const outBefore = out;
      if (decoder_->run(in, inLength, out, outLength) == Event::error) return false;
      if (in == inBefore && out == outBefore) break;
    }
    return true;
  };
  std::vector<uint8_t> before;
  before.swap(left_);
  const uint8_t* in = before.data();
  size_t inLength = before.size();
  if (!drain(in, inLength)) return SpanResult::wrongIndex;
  left_.assign(in, in + inLength);
  // What was left over comes first; new input may only follow when all of it is used.
  if (left_.empty()) {
    if (!drain(input, inputLength)) return SpanResult::wrongIndex;
  }
  if (outLength > 0 || left_.size() + inputLength > kMaxLeft) return SpanResult::wrongIndex;
  left_.insert(left_.end(), input, input + inputLength);

  decoder_->leaveOutput();
  if (!outputMatches(output, outputLength, decoder_->takeCrc(), sha256, crc, check)) return SpanResult::wrongIndex;
  broken_ = false;
  return SpanResult::ok;
}

}  // namespace imgfs
