// Raw deflate (RFC 1951), streaming: takes input and gives output in pieces of any length, stops between blocks with
// the exact bit, starts at any such place. Judges damaged input as zlib does, in zlib's words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "code-table.h"
#include "history.h"

namespace imgfs::inflating {

enum class Stop : uint8_t {
  // The input is used up, to its last bit that belongs to nothing unfinished.
  input,
  // The output is full.
  output,
  // Between two blocks that are not the last.
  block,
  // Behind the last block; the next byte of the input does not belong to the stream.
  end,
  error,
};

struct Input {
  const uint8_t* at = nullptr;
  const uint8_t* end = nullptr;
};

class Inflater {
 public:
  // Begin between two blocks (or at the first). `bits`: so many high bits of `firstByte` come first. Nothing lies before.
  void begin(uint8_t bits, uint8_t firstByte);
  // What lies before, when that is not in the memory that `run` writes to.
  void keep(const uint8_t* data, size_t length) { kept_.append(data, length); }

  // Decode until one of the stops. Matches refer to [out.begin, out.at) and, before it, to what was kept. `stopAtBlocks`:
  // report Stop::block. Bytes behind out.at, up to out.end, may be written to without meaning.
  Stop run(Input& in, Output& out, bool stopAtBlocks);

  // After Stop::block: bits of the last byte that were not consumed.
  uint8_t bits() const { return static_cast<uint8_t>(bitCount_); }
  // The last 32 KiB before out.at, or as many as there are.
  std::vector<uint8_t> window(const Output& out) const;
  // Watch from out.at on what refers to bytes before it.
  References& references() { return references_; }
  const char* error() const { return error_; }

 private:
  enum class State : uint8_t { blockHeader, storedHeader, stored, counts, codeLengths, lengths, tokens, match, end, failed };
  enum class Turn : uint8_t { go, input, output, failed };

  Stop runSteps(Input& in, Output& out, bool stopAtBlocks);
  Turn step(Input& in, Output& out);
  Turn blockHeader(Input& in);
  Turn storedHeader(Input& in);
  Turn stored(Input& in, Output& out);
  Turn counts(Input& in);
  Turn codeLengths(Input& in);
  Turn lengths(Input& in);
  Turn finishLengths();
  Turn tokens(Input& in, Output& out);
  Turn token(Input& in, Output& out);
  Turn match(Output& out);
  Turn fail(const char* reason);
  void useFixedCodes();
  void endBlock();

  // The loop for input and output that are long enough; defined in fast-loop.cc. Null, or why the data is damaged.
  const char* decodeFast(Input& in, Output& out);
  template <bool isWatched>
  const char* fastLoop(Input& in, Output& out);
  const char* fastLoopPlain(Input& in, Output& out);
  const char* fastLoopBmi2(Input& in, Output& out);

  bool need(Input& in, unsigned count);
  unsigned take(unsigned count);
  void giveBack(Input& in, const uint8_t* from);
  bool canReach(const Output& out, size_t distance) const {
    return distance <= static_cast<size_t>(out.at - out.begin) + kept_.size();
  }
  void copyExactly(Output& out, size_t distance, size_t length);

  State state_ = State::end;
  bool isLast_ = false;
  // Input that was taken and not used: `bitCount_` low bits of `hold_`, the others are zero.
  uint64_t hold_ = 0;
  unsigned bitCount_ = 0;
  const char* error_ = "";

  // Bytes of a stored block, or of a match that the output had no room for.
  size_t left_ = 0;
  size_t distance_ = 0;

  // A header of a dynamic block that is being read.
  size_t literalCount_ = 0, distanceCount_ = 0, codeLengthCount_ = 0, have_ = 0;
  uint8_t lengths_[288 + 32];

  bool hasFixedCodes_ = false;
  Entry codeLengthTable_[kCodeLengthEntries];
  Entry literalTable_[kLiteralEntries];
  Entry distanceTable_[kDistanceEntries];

  Kept kept_;
  References references_;
};

}  // namespace imgfs::inflating
