#include "header-walk.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "header.h"
#include "numbers.h"
#include "polled-read.h"

namespace imgfs {

namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kWanted = kBlock + kHeadBytes;
// What lies closer than that is read along instead of being jumped over: a read of a disk takes 40 to 280 us, in which it
// gives as much as that.
constexpr uint64_t kNear = 32 << 10;
// Each read of what is read along is twice as long as the one before.
constexpr uint64_t kLongest = 128 << 10;
// Of one walk.
constexpr size_t kMaxBytes = 4 << 20;
constexpr size_t kMaxHeaders = 1000;
// Of one part. To be woken costs the reader of parts some 20 us, a part of 16 headers a disk about 1 ms.
constexpr size_t kPartHeaders = 16;
// The last parts are shorter: when no more of the archive is left than the part under way has come along, it is handed over. So
// they halve, and one or two headers are left to judge behind the last read instead of 16 (0.2 ms).
// The first one brings the end of the archive, and what is to be done with that takes a while.
constexpr size_t kFirstPartHeaders = 4;
// manifest.json and the config of an image of 100 layers are 35 kB.
constexpr uint64_t kEndBytes = 64 << 10;

// Notes the header in `block`, with `known` bytes read from there on. Bytes from it to the next header; nothing for what
// is no header.
std::optional<uint64_t> note(HeaderWalk& walk, uint64_t at, const uint8_t* block, uint64_t known) {
  Header header;
  if (isZero(block) || parseHeader(block, header) != nullptr) return std::nullopt;
  const auto size = safeCount(header.size);
  if (!size) return std::nullopt;
  FoundHeader found{static_cast<double>(at), static_cast<double>(*size), static_cast<double>(header.typeFlag), 0, {}};
  const uint64_t headBytes = std::min({uint64_t{kHeadBytes}, *size, known - kBlock});
  std::copy_n(block + kBlock, headBytes, found.head);
  found.headBytes = static_cast<double>(headBytes);
  walk.headers.push_back(found);
  walk.names.append(header.path).push_back('\0');
  walk.names.append(header.linkPath).push_back('\0');
  return kBlock + (*size + kBlock - 1) / kBlock * kBlock;
}

class Walker {
 public:
  Walker(PolledReader& reader, uint64_t size, HeaderWalk& walk) : reader_(reader), size_(size), walk_(walk) {}

  // True when the header at `at` is among the bytes that were read.
  bool has(uint64_t at) const { return at >= start_ && at + kBlock <= end_; }
  const uint8_t* header(uint64_t at) const { return walk_.bytes.data() + base_ + (at - start_); }
  uint64_t known(uint64_t at) const { return end_ - at; }
  // The window under way says more than the header in it does.
  void keep() { kept_ = true; }

  bool isNear(uint64_t at) const { return end_ > start_ && at < end_ + kNear; }

  // What was found so far; whoever goes on does so with nothing read.
  HeaderWalk handOver() {
    close();
    start_ = end_ = base_ = 0;
    return std::exchange(walk_, HeaderWalk());
  }

  // False at the end of the file, or when it cannot be read.
  bool read(uint64_t at) {
    if (isNear(at)) {
      length_ = std::min(length_ * 2, kLongest);
      fill(std::max(end_ + length_, at + kWanted));
    } else {
      close();
      start_ = end_ = at;
      base_ = walk_.bytes.size();
      length_ = kPage;
      fill((at + kWanted + kPage - 1) / kPage * kPage);
    }
    return has(at);
  }

  void close() {
    if (end_ > start_ && kept_) {
      walk_.windows.push_back({static_cast<double>(start_), static_cast<double>(end_ - start_)});
    } else {
      walk_.bytes.resize(base_);
    }
    kept_ = false;
  }

 private:
  // Longer by the bytes up to `until`.
  void fill(uint64_t until) {
    until = std::min(until, size_);
    if (until <= end_) return;
    walk_.bytes.resize(base_ + (until - start_));
    end_ += reader_.read(walk_.bytes.data() + base_ + (end_ - start_), until - end_, end_, walk_.error);
    walk_.bytes.resize(base_ + (end_ - start_));
  }

  PolledReader& reader_;
  uint64_t size_;
  HeaderWalk& walk_;
  // The window under way, and where its bytes begin among those of all.
  uint64_t start_ = 0, end_ = 0;
  bool kept_ = false;
  size_t base_ = 0;
  uint64_t length_ = kPage;
};

using Clock = std::chrono::steady_clock;

// `jump` is called with the offset of a header that lies elsewhere, before it is read.
template <typename Jump>
void walkFrom(Walker& walker, HeaderWalk& walk, uint64_t at, uint64_t size, Clock::time_point stop, const Jump& jump) {
  for (bool first = true; size >= kBlock && at <= size - kBlock; first = false) {
    if (!walker.has(at)) {
      if (!first && (walk.bytes.size() > kMaxBytes || walk.headers.size() >= kMaxHeaders || Clock::now() >= stop)) {
        walk.next = static_cast<double>(at);
        return;
      }
      if (!first && !walker.isNear(at)) jump(at);
      if (!walker.read(at)) return;
    }
    const auto step = note(walk, at, walker.header(at), walker.known(at));
    if (!step || *step <= kNear) walker.keep();
    if (!step || *step > size - at) return;
    at += *step;
  }
}

void readEnd(PolledReader& reader, uint64_t size, HeaderWalk& walk) {
  walk.endOffset = static_cast<double>(size - kEndBytes);
  walk.endBytes.resize(kEndBytes);
  // Nobody has to have it: the walk comes there and says what is wrong.
  int error = 0;
  walk.endBytes.resize(reader.read(walk.endBytes.data(), kEndBytes, size - kEndBytes, error));
}

}  // namespace

HeaderWalk walkHeaders(int fd, uint64_t at, uint64_t size, uint64_t budgetUs) {
  HeaderWalk walk;
  PolledReader reader(fd);
  Walker walker(reader, size, walk);
  walkFrom(walker, walk, at, size, Clock::now() + std::chrono::microseconds(budgetUs), [](uint64_t) {});
  walker.close();
  return walk;
}

void walkHeadersInParts(int fd, uint64_t at, uint64_t size, uint64_t budgetUs,
                        const std::function<void(HeaderWalk&&)>& take) {
  const auto stop = Clock::now() + std::chrono::microseconds(budgetUs);
  HeaderWalk walk;
  struct stat status {};
  if (size == 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) size = static_cast<uint64_t>(status.st_size);
  PolledReader reader(fd);
  Walker walker(reader, size, walk);
  const auto handOver = [&](uint64_t next) {
    // The disk is at work while the part is put together and its reader is woken.
    posix_fadvise(fd, static_cast<off_t>(next), kWanted, POSIX_FADV_WILLNEED);
    HeaderWalk part = walker.handOver();
    part.next = static_cast<double>(next);
    part.isLast = false;
    take(std::move(part));
  };
  uint64_t partStart = at;
  bool wantsEnd = at == 0 && size > kEndBytes;
  // It comes while the first headers are read.
  if (wantsEnd) posix_fadvise(fd, static_cast<off_t>(size - kEndBytes), kEndBytes, POSIX_FADV_WILLNEED);
  walkFrom(walker, walk, at, size, stop, [&](uint64_t next) {
    const bool nearsEnd = !wantsEnd && size - next <= next - partStart;
    if (!nearsEnd && walk.headers.size() < (wantsEnd ? kFirstPartHeaders : kPartHeaders)) return;
    if (wantsEnd) readEnd(reader, size, walk);
    handOver(next);
    partStart = next;
    wantsEnd = false;
  });
  take(walker.handOver());
}

}  // namespace imgfs
