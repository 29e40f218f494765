// gzip: members one behind the other, raw starts between blocks, zero padding.
#include <algorithm>
#include <cstring>

#include "decoder.h"
#include "inflate/gzip-header.h"
#include "inflate/inflater.h"
#include "member-checksum.h"

namespace imgfs {

namespace {

using inflating::GzipHeader;
using inflating::Inflater;
using inflating::Stop;

constexpr size_t kTrailer = 8;

class GzipDecoder final : public Decoder {
 public:
  explicit GzipDecoder(bool stopAtBlocks) : stopAtBlocks_(stopAtBlocks) {}

  bool begin(const Start& start, uint8_t firstByte) override {
    produced_ = 0;
    checksum_.beginMember();
    out_.begin = out_.at;
    header_ = GzipHeader();
    trailerLength_ = 0;
    isWholeMember_ = start.kind == StartKind::fresh;
    state_ = isWholeMember_ ? State::header : State::deflate;
    inflater_.begin(start.bits, firstByte);
    if (!isWholeMember_) inflater_.keep(start.window.data(), start.window.size());
    return true;
  }

  Event run(const uint8_t*& in, size_t& inLength, uint8_t*& out, size_t& outLength) override {
    if (out_.at == nullptr) out_.begin = out_.at = out;
    if (out_.at != out) return fail("output does not go on where it stopped");
    out_.end = out + outLength;
    for (;;) {
      Event event = Event::none;
      const uint8_t* const before = in;
      const State stateBefore = state_;
      switch (state_) {
        case State::deflate: return inflateSome(in, inLength, out, outLength);
        case State::header: event = header(in, inLength); break;
        case State::trailer: event = trailer(in, inLength); break;
        default: event = between(in, inLength); break;
      }
      if (event != Event::none || (in == before && state_ == stateBefore)) return event;
    }
  }

  void leaveOutput() override {
    inflater_.keep(out_.begin, static_cast<size_t>(out_.at - out_.begin));
    out_ = inflating::Output();
  }

  bool atEnd() const override { return state_ == State::between || state_ == State::padding; }
  uint8_t bits() const override { return inflater_.bits(); }
  uint64_t producedInUnit() const override { return produced_; }
  std::vector<uint8_t> window() override { return inflater_.window(out_); }
  void watchWindow() override { inflater_.references().start(); }
  bool keepReferenced(std::vector<uint8_t>& window) override {
    if (!inflater_.references().any()) return false;
    inflater_.references().clearUnused(window);
    return true;
  }
  uint32_t takeCrc() override { return checksum_.take(); }

 private:
  enum class State : uint8_t { header, deflate, trailer, between, padding };

  Event header(const uint8_t*& in, size_t& inLength) {
    const GzipHeader::Result result = header_.feed(in, inLength);
    if (result == GzipHeader::Result::error) return fail(header_.error());
    if (result == GzipHeader::Result::done) state_ = State::deflate;
    return Event::none;
  }

  Event inflateSome(const uint8_t*& in, size_t& inLength, uint8_t*& out, size_t& outLength) {
    inflating::Input input{in, in + inLength};
    const Stop stop = inflater_.run(input, out_, stopAtBlocks_);
    const auto produced = static_cast<size_t>(out_.at - out);
    checksum_.update(out, produced);
    produced_ += produced;
    out = out_.at;
    outLength -= produced;
    inLength -= static_cast<size_t>(input.at - in);
    in = input.at;
    switch (stop) {
      case Stop::error: return fail(inflater_.error());
      case Stop::block: return Event::block;
      case Stop::end: state_ = State::trailer; return trailer(in, inLength);
      default: return Event::none;
    }
  }

  // Checksum and length (RFC 1952, 2.3.1). Of a member that was entered in its middle nothing here can check them.
  Event trailer(const uint8_t*& in, size_t& inLength) {
    const size_t take = std::min(inLength, kTrailer - trailerLength_);
    if (take > 0) memcpy(trailer_ + trailerLength_, in, take);
    in += take;
    inLength -= take;
    trailerLength_ += take;
    if (isWholeMember_ && trailerLength_ >= 4 && word(0) != checksum_.member()) return fail("incorrect data check");
    if (trailerLength_ < kTrailer) return Event::none;
    if (isWholeMember_ && word(4) != static_cast<uint32_t>(produced_)) return fail("incorrect length check");
    state_ = State::between;
    return Event::boundary;
  }

  uint32_t word(size_t at) const {
    uint32_t value = 0;
    for (size_t byte = 0; byte < 4; ++byte) value |= static_cast<uint32_t>(trailer_[at + byte]) << (8 * byte);
    return value;
  }

  // Another member, or zeros up to the end.
  Event between(const uint8_t*& in, size_t& inLength) {
    for (; inLength > 0 && *in == 0; ++in, --inLength) state_ = State::padding;
    if (inLength == 0) return Event::none;
    if (state_ == State::padding || *in != 0x1f) return fail("bytes behind the gzip stream are not another member");
    begin(Start(), 0);
    return Event::none;
  }

  Event fail(const char* reason) {
    error_ = reason;
    return Event::error;
  }

  bool stopAtBlocks_;
  State state_ = State::between;
  bool isWholeMember_ = true;
  GzipHeader header_;
  Inflater inflater_;
  inflating::Output out_;
  MemberChecksum checksum_;
  uint8_t trailer_[kTrailer];
  size_t trailerLength_ = 0;
  uint64_t produced_ = 0;
};

}  // namespace

std::unique_ptr<Decoder> makeGzipDecoder(bool stopAtBlocks) { return std::make_unique<GzipDecoder>(stopAtBlocks); }

}  // namespace imgfs
