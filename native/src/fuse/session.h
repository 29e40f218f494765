// A mounted file system: the device, its threads and the Server behind them.
//
// Threads: readers (one waits at the device, others when it has more to do than one can), one answerer (parked reads, deadlines) and one notifier.
// The notifier has a thread of its own because a notification may wait in the kernel for a lock that a request holds
// until it is answered.
#pragma once

#include <condition_variable>
#include <thread>
#include <vector>

#include "device.h"
#include "leadership.h"

namespace imgfs::fuse {

struct Notification {
  enum Kind { kEntry, kAttributes, kContent };
  Kind kind = kAttributes;
  uint64_t ino = 0;  // the directory, for an entry
  std::string name;
};

class Session {
 public:
  Session(int fd, unsigned readers, const ServerConfig& config);
  // Only after finished(), or after an unsuccessful waitFinished() never.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void start();
  // Fails what waits and stops the readers; returns at once. The job kJobClosed follows.
  void stop();
  // True when every thread has ended.
  bool waitFinished(Millis timeout);

  void notify(Notification notification);

  Server& server() { return server_; }
  JobQueue& jobs() { return jobs_; }

 private:
  void readRequests();
  void awaitStream(Scratch& scratch);
  bool readersEnd();
  bool followUntilLead(FileWindow& window);
  static bool mayTakeLong(const uint8_t* request);
  void answer();
  void deliverNotifications();
  void deliver(const Notification& notification);
  void readerEnded(int error);
  void wakeReaders();

  Device device_;
  JobQueue jobs_;
  Server server_;
  const unsigned readerCount_;
  uint64_t listening_ = 0;  // to the progress of receivers
  Leadership leadership_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<std::thread> threads_;
  std::vector<pthread_t> readers_;
  unsigned running_ = 0;         // all threads
  unsigned runningReaders_ = 0;
  bool stopping_ = false;        // stop() was called
  bool readersEnd_ = false;      // readers shall end
  bool closed_ = false;          // readers have ended: the others shall end
  bool answersDue_ = false;
  bool notifying_ = false;
  std::vector<Notification> notifications_;
};

}  // namespace imgfs::fuse
