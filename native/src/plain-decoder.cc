// Archives as they are, and the choice among the decoders.
#include <algorithm>
#include <cstring>

#include "decoder.h"

namespace imgfs {

namespace {

class PlainDecoder final : public Decoder {
 public:
  bool begin(const Start&, uint8_t) override { return true; }
  Event run(const uint8_t*& in, size_t& inLength, uint8_t*& out, size_t& outLength) override {
    const size_t take = std::min(inLength, outLength);
    // The end of the blob comes as no bytes at no address.
    if (take == 0) return Event::none;
    memcpy(out, in, take);
    addToCrc(out, take);
    in += take;
    out += take;
    inLength -= take;
    outLength -= take;
    return Event::none;
  }
  bool atEnd() const override { return true; }
};

}  // namespace

std::unique_ptr<Decoder> makeGzipDecoder(bool stopAtBlocks);
std::unique_ptr<Decoder> makeZstdDecoder();

std::unique_ptr<Decoder> makeDecoder(Format format, bool stopAtBlocks) {
  switch (format) {
    case Format::gzip: return makeGzipDecoder(stopAtBlocks);
    case Format::zstd: return makeZstdDecoder();
    default: return std::make_unique<PlainDecoder>();
  }
}

}  // namespace imgfs
