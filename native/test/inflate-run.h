// Deflate streams through our inflater and through zlib, side by side: shared by tests and the fuzzer.
#pragma once

#include <zlib.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "../src/inflate/inflater.h"
#include "sample-archive.h"

namespace imgfs {

// How decoding ended, what it yielded, and how much input it used.
struct Inflated {
  enum class End : uint8_t { whole, wantsInput, wantsOutput, damaged } end = End::wantsInput;
  std::string error;
  std::string output;
  size_t consumed = 0;
  bool operator==(const Inflated& other) const {
    // How much of damaged or cut input was looked at is not part of the verdict.
    return end == other.end && error == other.error && output == other.output &&
           (end != End::whole || consumed == other.consumed);
  }
};

struct InflateStart {
  uint8_t bits = 0;
  uint8_t firstByte = 0;
  std::vector<uint8_t> window;
};

// In which pieces input comes and output goes; `moves`: each piece of output has memory of its own.
struct Pieces {
  size_t in = SIZE_MAX;
  size_t out = SIZE_MAX;
  bool moves = false;
};

inline Inflated inflateByZlib(const std::string& deflated, const InflateStart& start, size_t maxOutput) {
  Inflated result;
  z_stream stream = {};
  if (inflateInit2(&stream, -15) != Z_OK) return result;
  if (start.bits > 0) inflatePrime(&stream, start.bits, start.firstByte >> (8 - start.bits));
  inflateSetDictionary(&stream, start.window.data(), static_cast<uInt>(start.window.size()));
  result.output.resize(maxOutput);
  stream.next_in = const_cast<uint8_t*>(bytesOf(deflated));
  stream.avail_in = static_cast<uInt>(deflated.size());
  stream.next_out = reinterpret_cast<uint8_t*>(&result.output[0]);
  stream.avail_out = static_cast<uInt>(maxOutput);
  const int code = inflate(&stream, Z_SYNC_FLUSH);
  result.consumed = deflated.size() - stream.avail_in;
  result.output.resize(maxOutput - stream.avail_out);
  if (code == Z_STREAM_END) result.end = Inflated::End::whole;
  else if (code != Z_OK && code != Z_BUF_ERROR) {
    result.end = Inflated::End::damaged;
    result.error = stream.msg != nullptr ? stream.msg : "?";
  } else if (stream.avail_out == 0) result.end = Inflated::End::wantsOutput;
  inflateEnd(&stream);
  return result;
}

// Every piece of input and of moving output is memory of exactly its length: a sanitizer sees each byte beyond.
class PieceRun {
 public:
  PieceRun(const std::string& deflated, const InflateStart& start, const Pieces& pieces, size_t maxOutput)
      : deflated_(deflated), pieces_(pieces), maxOutput_(maxOutput), inflater_(new inflating::Inflater) {
    inflater_->begin(start.bits, start.firstByte);
    inflater_->keep(start.window.data(), start.window.size());
    if (!pieces_.moves) memory_.resize(maxOutput);
    out_.begin = out_.at = memory_.data();
  }

  Inflated run() {
    for (;;) {
      const size_t length = std::min(pieces_.in, deflated_.size() - result_.consumed);
      const std::vector<uint8_t> piece(bytesOf(deflated_) + result_.consumed,
                                       bytesOf(deflated_) + result_.consumed + length);
      inflating::Input in{piece.data(), piece.data() + length};
      const inflating::Stop stop = runPiece(in);
      result_.consumed += static_cast<size_t>(in.at - piece.data());
      if (stop == inflating::Stop::end) return ended(Inflated::End::whole);
      if (stop == inflating::Stop::error) return ended(Inflated::End::damaged);
      if (stop == inflating::Stop::output && result_.output.size() == maxOutput_) return ended(Inflated::End::wantsOutput);
      if (stop == inflating::Stop::input && result_.consumed == deflated_.size()) return ended(Inflated::End::wantsInput);
    }
  }

 private:
  inflating::Stop runPiece(inflating::Input& in) {
    const size_t length = std::min(pieces_.out, maxOutput_ - result_.output.size());
    if (pieces_.moves) {
      memory_.assign(length, 0xee);
      out_.begin = out_.at = memory_.data();
    }
    out_.end = out_.at + length;
    const uint8_t* const before = out_.at;
    const inflating::Stop stop = inflater_->run(in, out_, false);
    result_.output.append(reinterpret_cast<const char*>(before), static_cast<size_t>(out_.at - before));
    if (pieces_.moves) inflater_->keep(out_.begin, static_cast<size_t>(out_.at - out_.begin));
    return stop;
  }

  Inflated ended(Inflated::End end) {
    result_.end = end;
    if (end == Inflated::End::damaged) result_.error = inflater_->error();
    return result_;
  }

  const std::string& deflated_;
  Pieces pieces_;
  size_t maxOutput_;
  std::unique_ptr<inflating::Inflater> inflater_;
  std::vector<uint8_t> memory_;
  inflating::Output out_;
  Inflated result_;
};

inline Inflated inflateByUs(const std::string& deflated, const InflateStart& start, const Pieces& pieces,
                            size_t maxOutput) {
  return PieceRun(deflated, start, pieces, maxOutput).run();
}

// A place between two blocks, as a pass finds it.
struct BlockStart {
  size_t in;
  size_t out;
  InflateStart start;
  // The window with what nothing refers to set to zero.
  std::vector<uint8_t> reduced;
};

// All starts of a stream; their windows are reduced by what is decoded behind them.
inline std::vector<BlockStart> blockStarts(const std::string& deflated, size_t maxOutput) {
  std::vector<BlockStart> starts;
  const auto inflater = std::make_unique<inflating::Inflater>();
  inflater->begin(0, 0);
  std::vector<uint8_t> memory(maxOutput);
  inflating::Output out{memory.data(), memory.data(), memory.data() + memory.size()};
  inflating::Input in{bytesOf(deflated), bytesOf(deflated) + deflated.size()};
  while (inflater->run(in, out, true) == inflating::Stop::block) {
    BlockStart found;
    found.in = static_cast<size_t>(in.at - bytesOf(deflated));
    found.out = static_cast<size_t>(out.at - out.begin);
    found.start.bits = inflater->bits();
    if (found.start.bits > 0) found.start.firstByte = in.at[-1];
    found.start.window = inflater->window(out);
    found.reduced = found.start.window;
    // Another inflater goes on from here and watches.
    const auto watcher = std::make_unique<inflating::Inflater>();
    watcher->begin(found.start.bits, found.start.firstByte);
    watcher->keep(found.start.window.data(), found.start.window.size());
    watcher->references().start();
    std::vector<uint8_t> rest(maxOutput - found.out);
    inflating::Output restOut{rest.data(), rest.data(), rest.data() + std::min<size_t>(rest.size(), 40000)};
    inflating::Input restIn = in;
    watcher->run(restIn, restOut, false);
    watcher->references().clearUnused(found.reduced);
    starts.push_back(found);
  }
  return starts;
}

}  // namespace imgfs
