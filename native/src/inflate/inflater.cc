#include "inflater.h"

namespace imgfs::inflating {

namespace {

// RFC 1951, 3.2.7: in which order the lengths of the code of code lengths come.
constexpr uint8_t kCodeLengthOrder[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
constexpr size_t kEndSymbol = 256;
constexpr size_t kMaxLiterals = 286, kMaxDistances = 30;

// One look-up, followed into a second table. The entry consumes `prefix` bits before its own.
struct Found {
  Entry entry;
  unsigned prefix;
};

Found find(const Entry* table, unsigned root, uint64_t hold) {
  const Entry entry = table[hold & ((1u << root) - 1)];
  if ((entry & kLink) == 0) return {entry, 0};
  return {table[valueOf(entry) + (hold >> root & ((1u << codeBits(entry)) - 1))], root};
}

// The value with its extra bits; `hold` begins with the code.
unsigned withExtra(const Found& found, uint64_t hold) {
  const unsigned code = codeBits(found.entry), all = consumedBits(found.entry);
  return valueOf(found.entry) + static_cast<unsigned>(hold >> found.prefix >> code & ((uint64_t{1} << (all - code)) - 1));
}

}  // namespace

void Inflater::begin(uint8_t bits, uint8_t firstByte) {
  state_ = State::blockHeader;
  isLast_ = false;
  bitCount_ = bits;
  hold_ = bits == 0 ? 0 : firstByte >> (8 - bits);
  error_ = "";
  kept_.clear();
  references_.stop();
}

Stop Inflater::run(Input& in, Output& out, bool stopAtBlocks) {
  references_.enter(out.at);
  const Stop stop = runSteps(in, out, stopAtBlocks);
  references_.leave(out.at);
  return stop;
}

Stop Inflater::runSteps(Input& in, Output& out, bool stopAtBlocks) {
  const uint8_t* const inBefore = in.at;
  for (;;) {
    if (state_ == State::failed) return Stop::error;
    if (state_ == State::end) {
      hold_ >>= bitCount_ & 7;
      bitCount_ &= ~7u;
      giveBack(in, inBefore);
      return Stop::end;
    }
    const State before = state_;
    const Turn turn = step(in, out);
    // What is left of the input belongs to what the input does not end.
    if (turn == Turn::input) return Stop::input;
    if (turn == Turn::go && !(stopAtBlocks && state_ == State::blockHeader && before != state_)) continue;
    giveBack(in, inBefore);
    if (turn == Turn::failed) return Stop::error;
    return turn == Turn::output ? Stop::output : Stop::block;
  }
}

Inflater::Turn Inflater::step(Input& in, Output& out) {
  switch (state_) {
    case State::blockHeader: return blockHeader(in);
    case State::storedHeader: return storedHeader(in);
    case State::stored: return stored(in, out);
    case State::counts: return counts(in);
    case State::codeLengths: return codeLengths(in);
    case State::lengths: return lengths(in);
    case State::tokens: return tokens(in, out);
    case State::match: return match(out);
    default: return Turn::failed;
  }
}

Inflater::Turn Inflater::fail(const char* reason) {
  state_ = State::failed;
  error_ = reason;
  return Turn::failed;
}

// Take bytes until `count` bits (at most 48) are there. False when the input ends before.
bool Inflater::need(Input& in, unsigned count) {
  while (bitCount_ < count) {
    if (in.at == in.end) return false;
    hold_ |= static_cast<uint64_t>(*in.at++) << bitCount_;
    bitCount_ += 8;
  }
  return true;
}

unsigned Inflater::take(unsigned count) {
  const auto value = static_cast<unsigned>(hold_ & ((uint64_t{1} << count) - 1));
  hold_ >>= count;
  bitCount_ -= count;
  return value;
}

// Bytes of which nothing was used go back to the input, as far as they came from this piece of it: others are part of
// what an earlier piece did not end.
void Inflater::giveBack(Input& in, const uint8_t* from) {
  const unsigned bytes = static_cast<unsigned>(std::min<size_t>(bitCount_ / 8, static_cast<size_t>(in.at - from)));
  in.at -= bytes;
  bitCount_ -= bytes * 8;
  hold_ &= (uint64_t{1} << bitCount_) - 1;
}

void Inflater::endBlock() { state_ = isLast_ ? State::end : State::blockHeader; }

Inflater::Turn Inflater::blockHeader(Input& in) {
  if (!need(in, 3)) return Turn::input;
  isLast_ = take(1) == 1;
  switch (take(2)) {
    case 0:
      take(bitCount_ & 7);
      state_ = State::storedHeader;
      return Turn::go;
    case 1:
      useFixedCodes();
      state_ = State::tokens;
      return Turn::go;
    case 2:
      state_ = State::counts;
      return Turn::go;
    default: return fail("invalid block type");
  }
}

Inflater::Turn Inflater::storedHeader(Input& in) {
  if (!need(in, 32)) return Turn::input;
  const unsigned length = take(16);
  if (length != (take(16) ^ 0xffff)) return fail("invalid stored block lengths");
  left_ = length;
  state_ = State::stored;
  return Turn::go;
}

Inflater::Turn Inflater::stored(Input& in, Output& out) {
  const size_t length =
      std::min({left_, static_cast<size_t>(in.end - in.at), static_cast<size_t>(out.end - out.at)});
  if (length > 0) memcpy(out.at, in.at, length);
  in.at += length;
  out.at += length;
  left_ -= length;
  if (left_ > 0) return in.at == in.end ? Turn::input : Turn::output;
  endBlock();
  return Turn::go;
}

Inflater::Turn Inflater::counts(Input& in) {
  if (!need(in, 14)) return Turn::input;
  literalCount_ = take(5) + 257;
  distanceCount_ = take(5) + 1;
  codeLengthCount_ = take(4) + 4;
  if (literalCount_ > kMaxLiterals || distanceCount_ > kMaxDistances) {
    return fail("too many length or distance symbols");
  }
  have_ = 0;
  state_ = State::codeLengths;
  return Turn::go;
}

Inflater::Turn Inflater::codeLengths(Input& in) {
  for (; have_ < codeLengthCount_; ++have_) {
    if (!need(in, 3)) return Turn::input;
    lengths_[kCodeLengthOrder[have_]] = static_cast<uint8_t>(take(3));
  }
  for (size_t at = have_; at < sizeof kCodeLengthOrder; ++at) lengths_[kCodeLengthOrder[at]] = 0;
  if (!buildTable(Alphabet::codeLengths, lengths_, sizeof kCodeLengthOrder, codeLengthTable_)) {
    return fail("invalid code lengths set");
  }
  have_ = 0;
  state_ = State::lengths;
  return Turn::go;
}

// The lengths of both codes, one list, run-length coded.
Inflater::Turn Inflater::lengths(Input& in) {
  const size_t all = literalCount_ + distanceCount_;
  while (have_ < all) {
    const Entry entry = codeLengthTable_[hold_ & (kCodeLengthEntries - 1)];
    const unsigned code = consumedBits(entry), symbol = valueOf(entry);
    const unsigned extra = symbol < 16 ? 0 : symbol == 16 ? 2 : symbol == 17 ? 3 : 7;
    if (bitCount_ < code + extra) {
      // One byte more may make it another code.
      if (!need(in, bitCount_ + 1)) return Turn::input;
      continue;
    }
    take(code);
    if (symbol < 16) {
      lengths_[have_++] = static_cast<uint8_t>(symbol);
      continue;
    }
    if (symbol == 16 && have_ == 0) return fail("invalid bit length repeat");
    const uint8_t length = symbol == 16 ? lengths_[have_ - 1] : 0;
    const size_t times = take(extra) + (symbol == 18 ? 11 : 3);
    if (times > all - have_) return fail("invalid bit length repeat");
    memset(lengths_ + have_, length, times);
    have_ += times;
  }
  return finishLengths();
}

Inflater::Turn Inflater::finishLengths() {
  if (lengths_[kEndSymbol] == 0) return fail("invalid code -- missing end-of-block");
  hasFixedCodes_ = false;
  if (!buildTable(Alphabet::literals, lengths_, literalCount_, literalTable_)) {
    return fail("invalid literal/lengths set");
  }
  if (!buildTable(Alphabet::distances, lengths_ + literalCount_, distanceCount_, distanceTable_)) {
    return fail("invalid distances set");
  }
  state_ = State::tokens;
  return Turn::go;
}

void Inflater::useFixedCodes() {
  if (hasFixedCodes_) return;
  memset(lengths_, 8, 144);
  memset(lengths_ + 144, 9, 112);
  memset(lengths_ + 256, 7, 24);
  memset(lengths_ + 280, 8, 8);
  memset(lengths_ + 288, 5, 32);
  hasFixedCodes_ = buildTable(Alphabet::literals, lengths_, 288, literalTable_) &&
                   buildTable(Alphabet::distances, lengths_ + 288, 32, distanceTable_);
}

Inflater::Turn Inflater::tokens(Input& in, Output& out) {
  const char* const damage = decodeFast(in, out);
  if (damage != nullptr) return fail(damage);
  while (state_ == State::tokens) {
    const Turn turn = token(in, out);
    if (turn != Turn::go) return turn;
  }
  return Turn::go;
}

// One literal, one match or the end of the block, with no byte of input more than it needs.
Inflater::Turn Inflater::token(Input& in, Output& out) {
  for (;;) {
    const Found first = find(literalTable_, kLiteralRoot, hold_);
    const unsigned firstBits = first.prefix + consumedBits(first.entry);
    if (bitCount_ >= first.prefix + codeBits(first.entry) && (first.entry & kInvalid)) {
      return fail("invalid literal/length code");
    }
    if (bitCount_ < firstBits) {
      if (!need(in, bitCount_ + 1)) return Turn::input;
      continue;
    }
    if (first.entry & kLiteral) {
      if (out.at == out.end) return Turn::output;
      *out.at++ = static_cast<uint8_t>(valueOf(first.entry));
      take(firstBits);
      return Turn::go;
    }
    if (first.entry & kSpecial) {
      take(firstBits);
      endBlock();
      return Turn::go;
    }
    const uint64_t rest = hold_ >> firstBits;
    const Found second = find(distanceTable_, kDistanceRoot, rest);
    const unsigned secondBits = second.prefix + consumedBits(second.entry);
    if (bitCount_ - firstBits >= second.prefix + codeBits(second.entry) && (second.entry & kSpecial)) {
      return fail("invalid distance code");
    }
    if (bitCount_ < firstBits + secondBits) {
      if (!need(in, bitCount_ + 1)) return Turn::input;
      continue;
    }
    left_ = withExtra(first, hold_);
    distance_ = withExtra(second, rest);
    if (!canReach(out, distance_)) return fail("invalid distance too far back");
    take(firstBits);
    take(secondBits);
    state_ = State::match;
    return match(out);
  }
}

// Copy a match that may reach before out.begin, and write nothing behind its end.
void Inflater::copyExactly(Output& out, size_t distance, size_t length) {
  if (references_.isWatching()) references_.mark(out.at, distance, length);
  const size_t here = static_cast<size_t>(out.at - out.begin);
  if (distance > here) {
    const size_t before = std::min(length, distance - here);
    memcpy(out.at, kept_.before(distance - here), before);
    out.at += before;
    length -= before;
  }
  if (length == 0) return;
  // The last bytes of a piece of input may stand for 30 KB of zeros.
  if (distance == 1) {
    memset(out.at, out.at[-1], length);
  } else if (distance >= length) {
    memcpy(out.at, out.at - distance, length);
  } else {
    for (size_t at = 0; at < length; ++at) out.at[at] = *(out.at + at - distance);
  }
  out.at += length;
}

Inflater::Turn Inflater::match(Output& out) {
  const size_t length = std::min(left_, static_cast<size_t>(out.end - out.at));
  if (length > 0) copyExactly(out, distance_, length);
  left_ -= length;
  if (left_ > 0) return Turn::output;
  state_ = State::tokens;
  return Turn::go;
}

std::vector<uint8_t> Inflater::window(const Output& out) const {
  const size_t here = std::min(static_cast<size_t>(out.at - out.begin), kReach);
  const size_t before = std::min(kept_.size(), kReach - here);
  std::vector<uint8_t> bytes(before + here);
  if (before > 0) memcpy(bytes.data(), kept_.before(before), before);
  if (here > 0) memcpy(bytes.data() + before, out.at - here, here);
  return bytes;
}

}  // namespace imgfs::inflating
