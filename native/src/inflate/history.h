// What matches refer back to: the memory that is being written, and before it what was kept of memory that is gone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace imgfs::inflating {

// The farthest that a match reaches back.
constexpr size_t kReach = 32768;

// Memory being written: `at` is the next byte, what lies in [begin, at) belongs to the stream.
struct Output {
  uint8_t* begin = nullptr;
  uint8_t* at = nullptr;
  uint8_t* end = nullptr;
};

// Which bytes before a place the matches behind it refer to. Only the first 32 KiB behind it can.
class References {
 public:
  // The place is where the next run begins to write.
  void start() {
    used_.assign(kReach, 0);
    any_ = false;
    passed_ = 0;
  }
  void stop() { passed_ = kReach; }
  bool isWatching() const { return passed_ < kReach; }
  // A run writes from `at` on.
  void enter(const uint8_t* at) { at_ = at; }
  void leave(const uint8_t* at) { passed_ += std::min(kReach - passed_, static_cast<size_t>(at - at_)); }
  // A match of `length` bytes at `at`.
  void mark(const uint8_t* at, size_t distance, size_t length) {
    const size_t since = passed_ + static_cast<size_t>(at - at_);
    if (distance <= since) return;
    const size_t back = distance - since;
    memset(used_.data() + (kReach - back), 1, std::min(length, back));
    any_ = true;
  }
  bool any() const { return any_; }
  // `window`: what lies before the place, its last byte next to it. Clears what nothing refers to.
  void clearUnused(std::vector<uint8_t>& window) const {
    const uint8_t* used = used_.data() + (kReach - window.size());
    for (size_t at = 0; at < window.size(); ++at) {
      if (used[at] == 0) window[at] = 0;
    }
  }

 private:
  std::vector<uint8_t> used_;
  // Output since the place, before the run under way; where that began.
  size_t passed_ = kReach;
  const uint8_t* at_ = nullptr;
  bool any_ = false;
};

// The end of what was written to memory that is gone. Copies may read up to `kSlack` bytes beyond it.
class Kept {
 public:
  static constexpr size_t kSlack = 64;

  void clear() { size_ = 0; }
  void append(const uint8_t* data, size_t length) {
    if (length == 0) return;
    bytes_.resize(2 * kReach + kSlack);
    const size_t take = std::min(length, kReach);
    // Twice as much is let grow, so that many short pieces do not each move all of it.
    if (size_ + take > 2 * kReach) {
      const size_t stay = take == kReach ? 0 : std::min(size_, kReach);
      memmove(bytes_.data(), bytes_.data() + (size_ - stay), stay);
      size_ = stay;
    }
    memcpy(bytes_.data() + size_, data + (length - take), take);
    size_ += take;
  }
  size_t size() const { return size_; }
  // The byte `back` bytes before the end, and those behind it.
  const uint8_t* before(size_t back) const { return bytes_.data() + (size_ - back); }

 private:
  std::vector<uint8_t> bytes_;
  size_t size_ = 0;
};

}  // namespace imgfs::inflating
