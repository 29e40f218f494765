#include "session.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "../receive/file-progress.h"

namespace imgfs::fuse {
namespace {

using std::chrono::milliseconds;

// A request is at most a header, its arguments and one write of `maxRead` bytes; the kernel refuses smaller buffers.
constexpr size_t kRequestOverhead = 4096;
// How late a deadline, or a signal that came after the first, is noticed: one wake-up of an idle mount in 100 ms.
constexpr Millis kTick = 100;
// Between two signals to readers that did not notice the first one because they were just about to block.
constexpr Millis kStopTick = 2;
// What stop() gives a notification that waits for a lock inside the kernel; its holder has been answered by then.
constexpr Millis kNotifierGrace = 2000;

// A client that reads on asks again within microseconds, less than it takes to sleep and to be woken: 3.6 instead of
// 2.9 GB/s. Nobody spins who was not asked again so soon the time before.
constexpr std::chrono::microseconds kSpin{30};
// How long a mapped window is kept that nobody reads from: a file that was evicted keeps its space until then.
constexpr milliseconds kWindowRest{1000};
constexpr milliseconds kForever{std::chrono::hours(1)};

// Ends read(2) with EINTR. A real-time signal that Node and V8 do not use.
int wakeSignal() { return SIGRTMIN + 11; }

void installWakeSignal() {
  struct sigaction current {};
  sigaction(wakeSignal(), nullptr, &current);
  if (current.sa_handler != SIG_DFL) return;
  struct sigaction action {};
  action.sa_handler = [](int) {};  // without SA_RESTART: the point is the EINTR
  sigaction(wakeSignal(), &action, nullptr);
}

// Signals belong to the threads of Node. Only the wake-up gets through to the readers.
void blockSignals(bool reader) {
  sigset_t set;
  sigfillset(&set);
  if (reader) sigdelset(&set, wakeSignal());
  pthread_sigmask(SIG_SETMASK, &set, nullptr);
}

// On a single one, spinning keeps the client from running.
bool severalProcessors() {
  static const bool several = std::thread::hardware_concurrency() > 1;
  return several;
}

void nameThread(const char* name) { pthread_setname_np(pthread_self(), name); }

}  // namespace

Session::Session(int fd, unsigned readers, const ServerConfig& config)
    : device_(fd), server_(config, device_, jobs_), readerCount_(std::max(1u, readers)) {
  server_.setParkedReady([this] {
    std::lock_guard<std::mutex> lock(mutex_);
    answersDue_ = true;
    changed_.notify_all();
  });
  listening_ = FileProgress::shared().listen([this](FileProgress::Event event, const FileProgress::Range& range) {
    const Range bytes{range.begin, range.end};
    if (event == FileProgress::Event::kComing) server_.fileComing(range.device, range.inode, bytes);
    if (event == FileProgress::Event::kWritten) server_.filePresent(range.device, range.inode, bytes);
    if (event == FileProgress::Event::kOver) server_.fileOver(range.device, range.inode, bytes);
  });
}

Session::~Session() {
  FileProgress::shared().unlisten(listening_);
  for (std::thread& thread : threads_) thread.join();
}

void Session::start() {
  installWakeSignal();
  std::lock_guard<std::mutex> lock(mutex_);
  running_ = readerCount_ + 2;
  runningReaders_ = readerCount_;
  auto run = [this](void (Session::*body)(), const char* name, bool reader) {
    threads_.emplace_back([this, body, name, reader] {
      blockSignals(reader);
      nameThread(name);
      (this->*body)();
      std::lock_guard<std::mutex> ended(mutex_);
      running_ -= 1;
      changed_.notify_all();
    });
  };
  for (unsigned i = 0; i < readerCount_; ++i) {
    run(&Session::readRequests, "imgfs-read", true);
    readers_.push_back(threads_.back().native_handle());
  }
  run(&Session::answer, "imgfs-answer", false);
  run(&Session::deliverNotifications, "imgfs-notify", false);
}

void Session::readRequests() {
  std::vector<uint8_t> buffer(server_.maxRead() + kRequestOverhead);
  Scratch scratch;
  bool leading = false;
  auto callNext = [&] {
    if (leading) leadership_.pass();
    leading = false;
  };
  scratch.beforeWaiting = callNext;
  int error = 0;
  while (!readersEnd()) {
    if (!leading && !device_.waits(0)) {
      if (!followUntilLead(scratch.window)) break;
      leading = true;
    }
    if (leading) awaitStream(scratch);
    ssize_t length = device_.receive(buffer.data(), buffer.size());
    if (length > 0) {
      // Reads of many at once: copying them is work for more than one.
      if (leading && mayTakeLong(buffer.data()) && device_.waits(0)) callNext();
      server_.handle(buffer.data(), static_cast<size_t>(length), scratch);
      continue;
    }
    // ENOENT: the request was interrupted before it was read. ENODEV: unmounted. ECONNABORTED: aborted.
    if (length == -EINTR || length == -ENOENT || length == -EAGAIN) continue;
    error = length == 0 || length == -ENODEV || length == -ECONNABORTED ? 0 : static_cast<int>(-length);
    break;
  }
  leadership_.end();
  readerEnded(error);
}

bool Session::readersEnd() {
  std::lock_guard<std::mutex> lock(mutex_);
  return readersEnd_;
}

// What copies much. Everything else is answered in less time than it takes to wake another thread.
bool Session::mayTakeLong(const uint8_t* request) {
  uint32_t opcode = reinterpret_cast<const InHeader*>(request)->opcode;
  return opcode == kRead || opcode == kReaddir || opcode == kReaddirplus || opcode == kWrite;
}

// False when readers end.
bool Session::followUntilLead(FileWindow& window) {
  for (;;) {
    switch (leadership_.acquire(window.isMapped() ? kWindowRest : kForever)) {
      case Leadership::Turn::kLead: return true;
      case Leadership::Turn::kEnd: return false;
      case Leadership::Turn::kTimeout: window.drop();
    }
  }
}

// After a large read: looks for the next one for a while without sleeping, and lets go of the file when none comes.
void Session::awaitStream(Scratch& scratch) {
  if (!scratch.window.isMapped()) return;
  auto begin = std::chrono::steady_clock::now();
  auto waited = [&] { return std::chrono::steady_clock::now() - begin; };
  while (scratch.streams && waited() < kSpin) {
    if (device_.waits(0)) return;
    sched_yield();
  }
  if (!device_.waits(static_cast<int>(kWindowRest.count())) && waited() >= kWindowRest) scratch.window.drop();
  scratch.streams = severalProcessors() && waited() < 2 * kSpin;
}

void Session::readerEnded(int error) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--runningReaders_ > 0) return;
  }
  server_.end();
  Job job;
  job.kind = kJobClosed;
  job.a = static_cast<uint64_t>(error);
  jobs_.push(std::move(job));
  std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void Session::answer() {
  Scratch scratch;
  Millis stopAt = 0;
  Millis idleSince = 0;
  for (;;) {
    bool wake = false;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      Millis wait = stopAt == 0 ? kTick : kStopTick;
      changed_.wait_for(lock, milliseconds(wait), [&] { return answersDue_ || closed_ || (stopping_ && stopAt == 0); });
      answersDue_ = false;
      if (closed_) return;
      if (stopping_ && stopAt == 0) stopAt = nowMillis();
      // A notification may wait for a lock that a request holds: readers must go on answering until it got through.
      if (stopping_ && (!notifying_ || nowMillis() - stopAt > kNotifierGrace)) readersEnd_ = true;
      wake = readersEnd_;
    }
    if (wake) wakeReaders();
    while (server_.answerParked(scratch)) idleSince = nowMillis();
    if (scratch.window.isMapped() && nowMillis() - idleSince > static_cast<Millis>(kWindowRest.count())) scratch.window.drop();
    server_.tick();
  }
}

void Session::wakeReaders() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (runningReaders_ == 0) return;
  // Threads are joined in the destructor only, so the handles are valid also for those that have ended.
  for (pthread_t reader : readers_) pthread_kill(reader, wakeSignal());
}

void Session::stop() {
  server_.end();
  std::unique_lock<std::mutex> lock(mutex_);
  notifications_.clear();
  stopping_ = true;
  changed_.notify_all();
}

bool Session::waitFinished(Millis timeout) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, milliseconds(timeout), [this] { return running_ == 0; });
}

void Session::notify(Notification notification) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (closed_ || stopping_) return;
  notifications_.push_back(std::move(notification));
  changed_.notify_all();
}

void Session::deliverNotifications() {
  for (;;) {
    std::vector<Notification> work;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      notifying_ = false;
      changed_.wait(lock, [this] { return closed_ || !notifications_.empty(); });
      if (closed_) return;
      work.swap(notifications_);
      notifying_ = true;
    }
    for (const Notification& notification : work) deliver(notification);
  }
}

// The kernel answers ENOENT for what it does not know (any more): nothing to do then.
void Session::deliver(const Notification& notification) {
  if (notification.kind == Notification::kEntry) {
    server_.expireEntry(notification.ino);
    InvalEntryOut body{notification.ino, static_cast<uint32_t>(notification.name.size()),
                       server_.expireOnly() ? kExpireOnly : 0};
    OutHeader header{static_cast<uint32_t>(sizeof(header) + sizeof(body) + notification.name.size() + 1),
                     kNotifyInvalEntry, 0};
    iovec parts[3] = {{&header, sizeof(header)},
                      {&body, sizeof(body)},
                      {const_cast<char*>(notification.name.c_str()), notification.name.size() + 1}};
    device_.send(parts, 3);
    return;
  }
  bool content = notification.kind == Notification::kContent;
  if (content) {
    server_.expireContent(notification.ino);
  } else {
    server_.expireAttributes(notification.ino);
  }
  // An offset below 0 means the attributes only. Pages under way are waited for: readers go on answering meanwhile.
  InvalInodeOut body{notification.ino, content ? 0 : -1, 0};
  OutHeader header{sizeof(header) + sizeof(body), kNotifyInvalInode, 0};
  iovec parts[2] = {{&header, sizeof(header)}, {&body, sizeof(body)}};
  device_.send(parts, 2);
}

}  // namespace imgfs::fuse
