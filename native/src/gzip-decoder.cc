// gzip through the zlib that node exports: members one behind the other, raw starts between blocks, zero padding.
#include <algorithm>
#include <cstring>

#include "decoder.h"

namespace imgfs {

namespace {

constexpr int kGzipBits = 15 + 16;
constexpr int kRawBits = -15;
constexpr size_t kTrailer = 8;

class GzipDecoder final : public Decoder {
 public:
  explicit GzipDecoder(bool stopAtBlocks) : flush_(stopAtBlocks ? Z_BLOCK : Z_NO_FLUSH) {
    ready_ = inflateInit2(&stream_, kGzipBits) == Z_OK;
  }
  ~GzipDecoder() override {
    if (ready_) inflateEnd(&stream_);
  }
  GzipDecoder(const GzipDecoder&) = delete;
  GzipDecoder& operator=(const GzipDecoder&) = delete;

  bool begin(const Start& start, uint8_t firstByte) override {
    if (!ready_) return fail("out of memory");
    produced_ = 0;
    if (start.kind == StartKind::fresh) {
      state_ = State::member;
      return inflateReset2(&stream_, kGzipBits) == Z_OK || fail("cannot start a member");
    }
    state_ = State::raw;
    if (inflateReset2(&stream_, kRawBits) != Z_OK) return fail("cannot start at a block");
    if (start.bits > 0 && inflatePrime(&stream_, start.bits, firstByte >> (8 - start.bits)) != Z_OK) {
      return fail("cannot start within a byte");
    }
    return start.window.empty() ||
           inflateSetDictionary(&stream_, start.window.data(), static_cast<uInt>(start.window.size())) == Z_OK ||
           fail("cannot set the window");
  }

  Event run(const uint8_t*& in, size_t& inLength, uint8_t*& out, size_t& outLength) override {
    while (inLength > 0 && (state_ == State::trailer || state_ == State::between || state_ == State::padding)) {
      if (state_ == State::trailer) {
        const size_t take = std::min(inLength, trailerLeft_);
        in += take;
        inLength -= take;
        trailerLeft_ -= take;
        if (trailerLeft_ == 0) {
          state_ = State::between;
          return Event::boundary;
        }
      } else if (*in == 0) {
        state_ = State::padding;
        ++in;
        --inLength;
      } else if (state_ == State::padding || *in != 0x1f) {
        return failEvent("bytes behind the gzip stream are not another member");
      } else if (!begin(Start(), 0)) {
        return Event::error;
      }
    }
    if (inLength == 0 && !hasPending_) return Event::none;
    return inflateSome(in, inLength, out, outLength);
  }

  bool atEnd() const override { return state_ == State::between || state_ == State::padding; }
  uint8_t bits() const override { return stream_.data_type & 7; }
  uint64_t producedInUnit() const override { return produced_; }

  std::vector<uint8_t> window() override {
    std::vector<uint8_t> bytes(kWindow);
    uInt length = 0;
    if (inflateGetDictionary(&stream_, bytes.data(), &length) != Z_OK) length = 0;
    bytes.resize(length);
    return bytes;
  }

 private:
  // `trailer`: checksum and length behind a member that was entered in its middle, which nothing here can check.
  enum class State : uint8_t { member, raw, trailer, between, padding };

  Event inflateSome(const uint8_t*& in, size_t& inLength, uint8_t*& out, size_t& outLength) {
    stream_.next_in = const_cast<uint8_t*>(in);
    stream_.avail_in = static_cast<uInt>(std::min<size_t>(inLength, 1 << 30));
    stream_.next_out = out;
    stream_.avail_out = static_cast<uInt>(std::min<size_t>(outLength, 1 << 30));
    const int result = inflate(&stream_, flush_);
    const size_t produced = static_cast<size_t>(stream_.next_out - out);
    inLength -= static_cast<size_t>(stream_.next_in - in);
    in = stream_.next_in;
    out += produced;
    outLength -= produced;
    produced_ += produced;
    // A full output may hide more that needs no further input.
    hasPending_ = stream_.avail_out == 0 && result == Z_OK;
    if (result == Z_STREAM_END) {
      hasPending_ = false;
      if (state_ == State::raw) {
        state_ = State::trailer;
        trailerLeft_ = kTrailer;
        return Event::none;
      }
      state_ = State::between;
      return Event::boundary;
    }
    if (result == Z_BUF_ERROR) return Event::none;
    if (result != Z_OK) return failEvent(stream_.msg ? stream_.msg : "damaged gzip stream");
    const bool atBlock = flush_ == Z_BLOCK && (stream_.data_type & 128) && !(stream_.data_type & 64);
    return atBlock ? Event::block : Event::none;
  }

  bool fail(const char* reason) {
    error_ = reason;
    return false;
  }
  Event failEvent(const char* reason) {
    fail(reason);
    return Event::error;
  }

  z_stream stream_ = {};
  bool ready_ = false;
  int flush_;
  State state_ = State::between;
  bool hasPending_ = false;
  size_t trailerLeft_ = 0;
  uint64_t produced_ = 0;
};

class PlainDecoder final : public Decoder {
 public:
  bool begin(const Start&, uint8_t) override { return true; }
  Event run(const uint8_t*& in, size_t& inLength, uint8_t*& out, size_t& outLength) override {
    const size_t take = std::min(inLength, outLength);
    // The end of the blob comes as no bytes at no address.
    if (take == 0) return Event::none;
    memcpy(out, in, take);
    in += take;
    out += take;
    inLength -= take;
    outLength -= take;
    return Event::none;
  }
  bool atEnd() const override { return true; }
};

// Decode at most `kWindow` bytes behind a block start with a dictionary of our choice.
bool probe(z_stream& stream, uint8_t bits, const std::vector<uint8_t>& input, const std::vector<uint8_t>& dictionary,
           std::vector<uint8_t>& out) {
  if (inflateReset2(&stream, kRawBits) != Z_OK) return false;
  if (bits > 0 && inflatePrime(&stream, bits, input[0] >> (8 - bits)) != Z_OK) return false;
  if (inflateSetDictionary(&stream, dictionary.data(), static_cast<uInt>(dictionary.size())) != Z_OK) return false;
  const size_t skip = bits > 0 ? 1 : 0;
  stream.next_in = const_cast<uint8_t*>(input.data() + skip);
  stream.avail_in = static_cast<uInt>(input.size() - skip);
  out.resize(kWindow);
  stream.next_out = out.data();
  stream.avail_out = kWindow;
  int result = Z_OK;
  while (result == Z_OK && stream.avail_out > 0 && stream.avail_in > 0) result = inflate(&stream, Z_SYNC_FLUSH);
  out.resize(kWindow - stream.avail_out);
  return result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR;
}

}  // namespace

std::unique_ptr<Decoder> makeZstdDecoder();

std::unique_ptr<Decoder> makeDecoder(Format format, bool stopAtBlocks) {
  switch (format) {
    case Format::gzip: return std::make_unique<GzipDecoder>(stopAtBlocks);
    case Format::zstd: return makeZstdDecoder();
    default: return std::make_unique<PlainDecoder>();
  }
}

bool keepReferenced(std::vector<uint8_t>& window, uint8_t bits, const std::vector<uint8_t>& input) {
  const size_t size = window.size();
  if (size == 0 || input.size() <= (bits > 0 ? 1u : 0u)) return false;
  z_stream stream = {};
  if (inflateInit2(&stream, kRawBits) != Z_OK) return true;
  std::vector<uint8_t> dictionary(size), low, high, inverse;
  for (size_t at = 0; at < size; ++at) dictionary[at] = static_cast<uint8_t>(at);
  bool ok = probe(stream, bits, input, dictionary, low);
  for (size_t at = 0; at < size; ++at) dictionary[at] = static_cast<uint8_t>(~at);
  ok = ok && probe(stream, bits, input, dictionary, inverse) && low.size() == inverse.size();
  if (ok && low == inverse) {
    inflateEnd(&stream);
    return false;
  }
  for (size_t at = 0; at < size; ++at) dictionary[at] = static_cast<uint8_t>(at >> 8);
  ok = ok && probe(stream, bits, input, dictionary, high) && low.size() == high.size();
  inflateEnd(&stream);
  // Damaged data behind the start: keep the window whole, the main pass reports the damage.
  if (!ok) return true;
  std::vector<uint8_t> kept(size, 0);
  for (size_t at = 0; at < low.size(); ++at) {
    if (low[at] == inverse[at]) continue;
    const size_t from = static_cast<size_t>(low[at]) | static_cast<size_t>(high[at]) << 8;
    if (from < size) kept[from] = window[from];
  }
  window.swap(kept);
  return true;
}

std::vector<uint8_t> deflateBytes(const std::vector<uint8_t>& bytes) {
  z_stream stream = {};
  if (deflateInit2(&stream, 6, Z_DEFLATED, kRawBits, 8, Z_DEFAULT_STRATEGY) != Z_OK) return {};
  std::vector<uint8_t> out(deflateBound(&stream, static_cast<uLong>(bytes.size())) + 16);
  stream.next_in = const_cast<uint8_t*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  const int result = deflate(&stream, Z_FINISH);
  out.resize(result == Z_STREAM_END ? out.size() - stream.avail_out : 0);
  deflateEnd(&stream);
  return out;
}

bool inflateBytes(const uint8_t* data, size_t length, std::vector<uint8_t>& into) {
  z_stream stream = {};
  if (inflateInit2(&stream, kRawBits) != Z_OK) return false;
  stream.next_in = const_cast<uint8_t*>(data);
  stream.avail_in = static_cast<uInt>(length);
  stream.next_out = into.data();
  stream.avail_out = static_cast<uInt>(into.size());
  const int result = inflate(&stream, Z_FINISH);
  const bool whole = stream.avail_out == 0;
  inflateEnd(&stream);
  return result == Z_STREAM_END && whole;
}

}  // namespace imgfs
