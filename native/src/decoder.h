// Streaming decoders that stop where decoding can start again.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace imgfs {

constexpr size_t kWindow = 32768;

enum class Format : uint8_t { plain, gzip, zstd };

// What kind of place a span starts at.
enum class StartKind : uint8_t {
  // The first byte of a gzip member, of a zstd frame, or any byte of a plain archive: nothing is needed.
  fresh,
  // Between two deflate blocks: needs the bits left over from the byte before, and the window.
  block,
  // Anywhere else: only reached by decoding the spans before it, from the last one that is not of this kind.
  inside,
};

struct Start {
  StartKind kind = StartKind::fresh;
  // Of the byte before, this many high bits belong to the span (0 to 7).
  uint8_t bits = 0;
  std::vector<uint8_t> window;
};

enum class Event : uint8_t {
  // The input is used up, or the output is full.
  none,
  // Between two deflate blocks that are not the last of their member.
  block,
  // Behind a gzip member or a zstd frame.
  boundary,
  error,
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  // Begin at such a place; `firstByte` is the byte that holds the left-over bits.
  virtual bool begin(const Start& start, uint8_t firstByte) = 0;
  // Consume from `in` and produce to `out`; pointers and lengths are moved on. Stops at every event. `out` goes on where
  // the run before stopped, in memory that still holds what came out, unless `leaveOutput` was called. What lies behind
  // it, up to its length, may be overwritten.
  virtual Event run(const uint8_t*& in, size_t& inLength, uint8_t*& out, size_t& outLength) = 0;
  // The memory that was written to so far is about to change or go: keep what decoding on needs of it.
  virtual void leaveOutput() {}
  // The input may end here.
  virtual bool atEnd() const = 0;
  // Bits of the last byte that were not consumed, after Event::block.
  virtual uint8_t bits() const { return 0; }
  // The last 32 KiB of output, after Event::block.
  virtual std::vector<uint8_t> window() { return {}; }
  // Bytes that the member or frame under way has produced.
  virtual uint64_t producedInUnit() const { return 0; }
  // From here on watch which bytes of the window are referred to, after Event::block or `begin` at a block.
  virtual void watchWindow() {}
  // Set to zero what nothing referred to, in the window as it was then; after 32 KiB of output that is final. False when
  // nothing was referred to.
  virtual bool keepReferenced(std::vector<uint8_t>&) { return true; }
  // CRC-32 of what came out since this was last asked.
  virtual uint32_t takeCrc() {
    const uint32_t crc = crc_;
    crc_ = 0;
    return crc;
  }
  const std::string& error() const { return error_; }

 protected:
  void addToCrc(const uint8_t* data, size_t length) {
    if (length > 0) crc_ = static_cast<uint32_t>(crc32_z(crc_, data, length));
  }
  std::string error_;

 private:
  uint32_t crc_ = 0;
};

// `stopAtBlocks`: report Event::block; costs a little, so reading does without. Null when the format cannot be
// decoded here: zstd without libzstd.
std::unique_ptr<Decoder> makeDecoder(Format format, bool stopAtBlocks);

// True when libzstd could be loaded.
bool hasZstd();

// Raw deflate, for windows.
std::vector<uint8_t> deflateBytes(const std::vector<uint8_t>& bytes);
bool inflateBytes(const uint8_t* data, size_t length, std::vector<uint8_t>& into);

}  // namespace imgfs
