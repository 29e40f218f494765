// Bytes of a connection into a file, hashed on the way, on a thread that needs no JavaScript.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "file-progress.h"
#include "running-digest.h"

namespace imgfs {

struct ReceiveOrder {
  int socket = -1;      // a connected, non-blocking stream; duplicated, never closed
  int file = -1;        // duplicated as well
  uint64_t offset = 0;  // where the first byte goes
  uint64_t length = 0;  // how many bytes there are, those of `prefix` included: not one more is read
  std::vector<uint8_t> prefix;            // bytes that were read before
  std::shared_ptr<RunningDigest> digest;  // of the whole file; null for none
};

class Receiver {
 public:
  enum class Outcome {
    kDone,        // all bytes are in the file
    kCut,         // the connection ended or broke; what it says about that is left to its owner
    kAborted,     // abort()
    kNotWritten,  // the file took no more: `error()`, and the bytes it did not take are `leftover()`
  };

  explicit Receiver(ReceiveOrder order);
  ~Receiver();
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  // Receives until there is an outcome. `onProgress` is called now and then when `written` has grown, on this thread.
  Outcome run(const std::function<void()>& onProgress);

  // Ends run() soon, from any thread. The connection is of no use afterwards.
  void abort();

  // How many bytes, from the offset on, are in the file.
  uint64_t written() const { return written_.load(std::memory_order_acquire); }
  int error() const { return error_; }
  std::vector<uint8_t> takeLeftover() { return std::move(leftover_); }

 private:
  size_t wanted() const;
  bool gather();
  bool awaitBytes(int timeoutMs);
  bool write();
  void tell(bool isLate);
  void announce(FileProgress::Event event, uint64_t begin, uint64_t end) const;
  void release();

  ReceiveOrder order_;
  std::function<void()> onProgress_;
  std::unique_ptr<uint8_t[]> buffer_;
  size_t filled_ = 0;
  uint64_t told_ = 0;    // of `written_`
  int64_t toldAtUs_ = 0;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  std::atomic<uint64_t> written_{0};
  int error_ = 0;
  std::vector<uint8_t> leftover_;

  std::mutex mutex_;  // guards what follows
  bool aborted_ = false;
  int socket_ = -1;
  int file_ = -1;
};

}  // namespace imgfs
