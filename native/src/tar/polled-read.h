// Reads pages of a disk one after another, each as soon as the one before says where it is.
#pragma once

#include <cstddef>
#include <cstdint>

namespace imgfs {

// A thread that sleeps in a read is woken some 10 us after the bytes are there, of the 45 to 60 that a page of a fast disk
// takes: 102 headers one behind the other cost 5.2 ms so, and 4.3 when the thread asks again and again instead. What takes
// longer than `kLongestPollUs` is waited for asleep; after `kPatience` of those in a row everything is.
class PolledReader {
 public:
  // `fd` stays the caller's.
  explicit PolledReader(int fd);

  // Bytes read from `offset` on, at most `length`: fewer at the end of the file, or when it cannot be read, and `error` is
  // set then.
  size_t read(uint8_t* bytes, size_t length, uint64_t offset, int& error);

 private:
  static constexpr int64_t kLongestPollUs = 250;
  static constexpr int kPatience = 3;

  // What came without sleeping.
  size_t poll(uint8_t* bytes, size_t length, uint64_t offset);

  int fd_;
  // Long waits that are still put up with; 0: polling is over.
  int patience_;
};

}  // namespace imgfs
