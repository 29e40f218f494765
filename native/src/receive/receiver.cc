#include "receiver.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace imgfs {

namespace {

// Received, written and hashed piece by piece, so that a piece is still in the second-level cache (512 KiB and more)
// when it is hashed; a system call for so much is 2 % of copying it. Pieces begin at multiples of it: ext4 takes 0.23 s
// for a GiB of them, 0.30 where they begin anywhere.
constexpr size_t kPieceBytes = 256 << 10;
// A piece that is not full waits for more that long: 85 MB/s fill one meanwhile, and who waits for bytes hardly waits longer.
constexpr int64_t kGatherUs = 3000;
// JavaScript is told after that long, or so much: 300 calls a second at most, or one for 4 ms of a 1 GB/s stream.
constexpr int64_t kTellUs = 3000;
constexpr uint64_t kTellBytes = 4 << 20;
// Nothing depends on it: abort() ends the wait.
constexpr int kIdleMs = 10'000;

int64_t nowUs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
}

}  // namespace

Receiver::Receiver(ReceiveOrder order) : order_(std::move(order)), buffer_(new uint8_t[kPieceBytes]) {
  socket_ = fcntl(order_.socket, F_DUPFD_CLOEXEC, 0);
  file_ = fcntl(order_.file, F_DUPFD_CLOEXEC, 0);
  if (socket_ < 0 || file_ < 0) error_ = errno;
  struct stat status {};
  if (fstat(file_, &status) != 0) return;
  device_ = status.st_dev;
  inode_ = status.st_ino;
}

Receiver::~Receiver() { release(); }

void Receiver::release() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (socket_ >= 0) close(socket_);
  if (file_ >= 0) close(file_);
  socket_ = file_ = -1;
}

void Receiver::abort() {
  std::lock_guard<std::mutex> lock(mutex_);
  aborted_ = true;
  if (socket_ >= 0) shutdown(socket_, SHUT_RDWR);
}

Receiver::Outcome Receiver::run(const std::function<void()>& onProgress) {
  onProgress_ = onProgress;
  toldAtUs_ = nowUs();
  if (error_ != 0) {
    leftover_ = std::move(order_.prefix);
    release();
    return Outcome::kNotWritten;
  }
  const uint64_t end = order_.offset + order_.length;
  announce(FileProgress::Event::kComing, order_.offset, end);
  Outcome outcome = Outcome::kDone;
  size_t prefixTaken = 0;
  while (written() < order_.length) {
    if (prefixTaken < order_.prefix.size()) {
      filled_ = std::min(order_.prefix.size() - prefixTaken, wanted());
      std::memcpy(buffer_.get(), order_.prefix.data() + prefixTaken, filled_);
      prefixTaken += filled_;
    }
    const bool open = gather();
    if (filled_ > 0 && !write()) {
      leftover_.insert(leftover_.end(), order_.prefix.begin() + static_cast<ptrdiff_t>(prefixTaken),
                       order_.prefix.end());
      outcome = Outcome::kNotWritten;
      break;
    }
    if (!open) {
      outcome = Outcome::kCut;
      break;
    }
    tell(false);
  }
  announce(FileProgress::Event::kOver, order_.offset, end);
  std::unique_lock<std::mutex> lock(mutex_);
  if (outcome == Outcome::kCut && aborted_) outcome = Outcome::kAborted;
  lock.unlock();
  release();
  return outcome;
}

// Room in the piece, which ends where the next one of the file begins, and what the body still has.
size_t Receiver::wanted() const {
  const uint64_t left = order_.length - written() - filled_;
  const uint64_t room = kPieceBytes - (order_.offset + written()) % kPieceBytes;
  return static_cast<size_t>(std::min(room - std::min<uint64_t>(room, filled_), left));
}

// Fills the piece with what comes; false when no more will.
bool Receiver::gather() {
  int64_t since = filled_ > 0 ? nowUs() : 0;
  while (wanted() > 0) {
    const ssize_t got = recv(socket_, buffer_.get() + filled_, wanted(), MSG_DONTWAIT);
    if (got > 0) {
      if (filled_ == 0) since = nowUs();
      filled_ += static_cast<size_t>(got);
      continue;
    }
    if (got == 0) return false;
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return false;
    const int64_t left = filled_ == 0 ? kTellUs : since + kGatherUs - nowUs();
    if (left <= 0) return true;
    if (awaitBytes(static_cast<int>((left + 999) / 1000))) continue;
    if (filled_ > 0) return true;
    tell(true);
    awaitBytes(kIdleMs);
  }
  return true;
}

// False when nothing came in that time.
bool Receiver::awaitBytes(int timeoutMs) {
  pollfd entry{socket_, POLLIN, 0};
  return poll(&entry, 1, timeoutMs) != 0;
}

// The piece into the file, then into the digest; false when the file does not take all of it.
bool Receiver::write() {
  const uint64_t at = order_.offset + written();
  size_t done = 0;
  while (done < filled_) {
    const ssize_t put = pwrite(file_, buffer_.get() + done, filled_ - done, static_cast<off_t>(at + done));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) {
      error_ = put < 0 ? errno : EIO;
      break;
    }
    done += static_cast<size_t>(put);
  }
  // Before it is hashed: somebody may be waiting. The last piece only JavaScript shows, which knows what completes the blob.
  if (done > 0 && written() + done < order_.length) announce(FileProgress::Event::kWritten, at, at + done);
  if (order_.digest) order_.digest->offer(at, buffer_.get(), done);
  written_.store(written() + done, std::memory_order_release);
  const bool complete = done == filled_;
  if (!complete) leftover_.assign(buffer_.get() + done, buffer_.get() + filled_);
  filled_ = 0;
  return complete;
}

void Receiver::announce(FileProgress::Event event, uint64_t begin, uint64_t end) const {
  FileProgress::shared().tell(event, {device_, inode_, begin, end});
}

void Receiver::tell(bool isLate) {
  const uint64_t grown = written() - told_;
  if (grown == 0) return;
  const int64_t now = nowUs();
  if (!isLate && grown < kTellBytes && now - toldAtUs_ < kTellUs) return;
  told_ = written();
  toldAtUs_ = now;
  onProgress_();
}

}  // namespace imgfs
