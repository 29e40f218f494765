// Who writes a file tells those who read it, without JavaScript in between.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>

namespace imgfs {

// One for the process: receivers tell, drivers listen. Files are known by device and inode.
class FileProgress {
 public:
  enum class Event {
    kComing,   // somebody has begun to write this range
    kWritten,  // this part of it may be read
    kOver,     // nobody writes this range any more, whatever of it was written
  };
  struct Range {
    dev_t device;
    ino_t inode;
    uint64_t begin, end;
  };
  using Listener = std::function<void(Event, const Range&)>;

  static FileProgress& shared();

  // Listeners are called by writing threads, one at a time, and must not call back.
  uint64_t listen(Listener listener);
  // The listener is not called any more when this returns.
  void unlisten(uint64_t id);
  void tell(Event event, const Range& range);

 private:
  std::mutex mutex_;
  uint64_t lastId_ = 0;
  std::map<uint64_t, Listener> listeners_;
};

}  // namespace imgfs
