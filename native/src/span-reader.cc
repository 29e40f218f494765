#include "span-reader.h"

#include <cstring>

#include "hashes.h"

namespace imgfs {

SpanResult readSpan(const SpanRequest& request) {
  uint8_t digest[32];
  sha256Of(request.input, request.inputLength, digest);
  if (memcmp(digest, request.sha256, sizeof digest) != 0) return SpanResult::wrongInput;

  Start start;
  start.kind = request.kind;
  start.bits = request.bits;
  if (request.windowLength > 0) {
    start.window.resize(request.windowLength);
    if (!inflateBytes(request.window, request.windowStored, start.window)) return SpanResult::wrongIndex;
  }
  const auto decoder = makeDecoder(request.format, false);
  if (!decoder) return SpanResult::unsupported;
  const uint8_t* in = request.input;
  size_t inLength = request.inputLength;
  uint8_t firstByte = 0;
  if (start.kind == StartKind::block && start.bits > 0) {
    if (inLength == 0) return SpanResult::wrongIndex;
    firstByte = *in;
    ++in;
    --inLength;
  }
  if (!decoder->begin(start, firstByte)) return SpanResult::wrongIndex;
  uint8_t* out = request.output;
  size_t outLength = request.outputLength;
  while (outLength > 0) {
    const uint8_t* const inBefore = in;
    const uint8_t* const outBefore = out;
    if (decoder->run(in, inLength, out, outLength) == Event::error) return SpanResult::wrongIndex;
    if (in == inBefore && out == outBefore) return SpanResult::wrongIndex;
  }
  uint32_t crc = static_cast<uint32_t>(crc32(0, nullptr, 0));
  crc = static_cast<uint32_t>(crc32_z(crc, request.output, request.outputLength));
  return crc == request.crc ? SpanResult::ok : SpanResult::wrongIndex;
}

}  // namespace imgfs
