// The digest of a blob that is hashed in order, by whichever thread has the next bytes at hand.
#pragma once

#include <atomic>
#include <mutex>
#include <string>

#include "../hashes.h"

namespace imgfs {

class RunningDigest {
 public:
  explicit RunningDigest(BlobHash::Algorithm algorithm) : hash_(algorithm) {}

  // Everything before this offset is in it.
  uint64_t position() const { return position_.load(std::memory_order_acquire); }

  // Takes bytes that begin at `at` if they are the next and nobody else is hashing; false otherwise.
  bool offer(uint64_t at, const uint8_t* data, size_t length);

  // Takes bytes from memory, whatever they are.
  void feed(const uint8_t* data, size_t length);

  // Takes bytes of a file up to `end`. Returns 0 and stops where the file ends before, or an errno.
  int advance(int file, uint64_t end);

  // Lower-case hex. Call once.
  std::string finish();

 private:
  std::mutex mutex_;  // guards `hash_` and writing to `position_`
  BlobHash hash_;
  std::atomic<uint64_t> position_{0};
};

}  // namespace imgfs
