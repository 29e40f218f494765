// What the driver asks of, or tells, JavaScript.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

namespace imgfs::fuse {

// Kinds below kJobFill are opcodes of the wire.
constexpr uint32_t kJobFill = 1000;    // id, a: handle, b: begin, c: end
constexpr uint32_t kJobAbort = 1001;   // a: id nobody waits for any more, b: 1 when it is a fill's, c: errno
constexpr uint32_t kJobReady = 1002;   // a: protocol minor, b: 1 with passthrough
constexpr uint32_t kJobClosed = 1003;  // a: errno, 0 after an ordinary unmount
constexpr uint32_t kJobReopen = 1004;  // id: handle of the kernel, opened without JavaScript, that needs one of the FileSystem
constexpr uint32_t kJobPassed = 1005;  // a file was opened without JavaScript, near bytes that are missing

struct Job {
  uint32_t kind = 0;
  uint64_t id = 0;  // 0: no answer is expected
  uint64_t nodeid = 0;
  uint32_t uid = 0, gid = 0, pid = 0;
  uint64_t a = 0, b = 0, c = 0;
  uint64_t cookie = 0;
  std::string name;
};

// Filled by any thread, emptied by the JavaScript thread. One wake-up for each change from empty to filled.
class JobQueue {
 public:
  void setWake(std::function<void()> wake) {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_ = std::move(wake);
  }

  void push(Job job) {
    std::lock_guard<std::mutex> lock(mutex_);
    bool wasEmpty = jobs_.empty();
    jobs_.push_back(std::move(job));
    // Woken under the lock, so that setWake(nullptr) returns only when no wake-up is under way.
    if (wasEmpty && wake_) wake_();
  }

  // Moves up to `most` jobs, with up to `mostName` bytes of names, to `out`; true when more are left.
  bool take(std::vector<Job>& out, size_t most, size_t mostName) {
    std::lock_guard<std::mutex> lock(mutex_);
    size_t nameBytes = 0;
    while (!jobs_.empty() && out.size() < most) {
      nameBytes += jobs_.front().name.size();
      if (nameBytes > mostName) break;
      out.push_back(std::move(jobs_.front()));
      jobs_.pop_front();
    }
    return !jobs_.empty();
  }

 private:
  std::mutex mutex_;
  std::deque<Job> jobs_;
  std::function<void()> wake_;
};

}  // namespace imgfs::fuse
