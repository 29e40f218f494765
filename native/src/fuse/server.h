// The file system's side of the protocol: takes requests, answers what it can, hands the rest to JavaScript and takes
// its answers. Knows nothing of /dev/fuse, of threads or of Node: tests and the fuzzer drive it directly.
//
// Any thread may call any method. One lock guards all tables. It is never held while something is written to the
// kernel or read from a file; the job queue has a lock of its own that is taken inside (order: Server, JobQueue).
#pragma once

#include <errno.h>
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "backing.h"
#include "file-window.h"
#include "inode-table.h"
#include "job.h"
#include "pending.h"
#include "request.h"

namespace imgfs::fuse {

// The way to the kernel.
class Channel {
 public:
  virtual ~Channel() = default;
  // Sends one reply. 0, or an errno: ENOENT when nobody waits for it any more.
  virtual int send(const iovec* parts, int count) = 0;
  // Registers a file for passthrough: its id, or a negative errno.
  virtual int openBacking(int fd) = 0;
  virtual void closeBacking(int id) = 0;
};

struct ServerConfig {
  Millis operationTimeout = 0;  // 0: none
  Millis slowTimeout = 0;       // of operations that wait for a store to take something; 0: none
  bool writable = false;        // JavaScript takes changes; otherwise all of them are EROFS
  uint32_t maxRead = 1048576;   // bytes: 256 pages, what the kernel allows at most by default
  bool passthrough = true;
  bool allXattrs = false;       // ask JavaScript for names outside `user.` too
  // What is not asked of the kernel even where it is offered: flags of INIT, and the protocol's minor version. To see
  // that older kernels will do.
  uint64_t withoutFlags = 0;
  uint32_t mostMinor = kMinor;
  // Entries kept in complete listings. An entry costs about 350 bytes here with its inode: 90 MB at most.
  size_t maxListed = 262144;
  // Complete files that may be opened again without JavaScript, each with a descriptor of its own.
  size_t maxSealed = 1024;
  // How long they may: JavaScript must see an open now and then, or the cache evicts what is used most.
  Millis sealedTtl = 60000;
};

// Memory of one thread that answers requests.
struct Scratch {
  std::string reply;
  std::vector<uint8_t> data;
  FileWindow window;
  bool streams = false;  // the last large read came soon after the one before
  // Called before something that may wait for a disk.
  std::function<void()> beforeWaiting = [] {};
};

struct OpenAnswer {
  uint64_t script = 0;  // handle of the FileSystem
  bool keepCache = false;
  bool directIo = false;
  int fd = -1;          // of the backing file; -1 without
  uint64_t base = 0;
  bool complete = false;
  bool segmented = false;  // without a file: put together of segments that fills tell
  uint32_t file = 0;       // number of the shared file that `fd` is, 0: of none
  std::vector<Range> present;
};

// A segment as JavaScript tells it: bytes of `literals`, or of an open file.
struct ToldSegment {
  Range range;  // of the inode
  int fd = -1;  // -1: literals
  uint64_t offset = 0;
};

enum class Delivery : uint32_t {
  kGone = 0,       // nobody waits any more: undo
  kDelivered = 1,
  kAdopted = 2,    // delivered, and the FileSystem's handle is not needed any more: release it
};

// Counters, all since the mount.
enum Counter : size_t {
  kRequests,
  kToScript,
  kFills,
  kParked,
  kPassthroughOpens,
  kCachedOpens,
  kSealedOpens,
  kSharedOpens,
  kReopens,
  kStoredFiles,
  kTimeouts,
  kInterrupts,
  kInterruptsIgnored,
  kBackedReads,
  kBackedBytes,
  kReadFallbacks,
  kMalformed,
  kLostReplies,
  kCounterEnd,
};
extern const char* const kCounterNames[kCounterEnd];

class Server {
 public:
  Server(const ServerConfig& config, Channel& channel, JobQueue& jobs);
  ~Server();

  // One request, as read from the device.
  void handle(const uint8_t* bytes, size_t length, Scratch& scratch);

  // Answers of JavaScript. False, or kGone: nobody waits for it any more.
  bool replyError(uint64_t id, int error);
  bool replyEntry(uint64_t id, const PackedEntry& entry);
  bool replyNegative(uint64_t id, uint64_t entryTtl);
  bool replyAttributes(uint64_t id, const PackedEntry& entry);
  bool replyBytes(uint64_t id, const uint8_t* bytes, size_t length);
  bool replyStatfs(uint64_t id, const StatfsOut& statistics);
  Delivery replyOpen(uint64_t id, const OpenAnswer& answer);
  bool replyOpendir(uint64_t id, uint64_t script, bool keepCache, bool complete);
  // `page`: packed entries. Lookups that it counted are given back when they are not needed.
  bool replyReaddir(uint64_t id, const uint8_t* page, size_t length, bool end);
  // A complete directory that JavaScript listed by itself; taken in unless one is known already. False: every lookup
  // that the page counted is the caller's to undo.
  bool putListing(uint64_t directory, const uint8_t* page, size_t length);
  // Segments of a file that is put together, told before the fill is over. False when descriptors ran out, or nobody
  // waits any more.
  bool addSegments(uint64_t fillId, const std::vector<ToldSegment>& told, const std::string& literals);
  // A fill is over. `useRead`: it cannot be kept on disk, ask for the bytes instead.
  void fillDone(uint64_t fillId, int error, bool useRead, bool complete, const std::vector<Range>& present);

  // A file that many inodes lie in; entries and opens name it by `id`. False when descriptors ran out.
  bool putFile(uint32_t id, int fd, uint64_t size, const std::vector<Range>& present);
  // More of it is there now.
  void addRanges(uint32_t id, const std::vector<Range>& present);
  // Ranges of it are to be given back: for each whether it may go, because nobody has a file open that lies in it; from
  // then on nobody reads it. `forced`: it is believed no more, also where it may not go; what is open keeps what it has.
  std::vector<bool> takeBack(uint32_t id, const std::vector<Range>& ranges, bool forced);
  // Nobody opens it any more. What is open keeps what it has.
  void dropFile(uint32_t id);
  // The answer to kJobReopen.
  Delivery replyReopen(uint64_t fh, const OpenAnswer& answer);
  void reopenFailed(uint64_t fh, int error);

  // The answer to CREATE: `answer` without a backing file.
  Delivery replyCreate(uint64_t id, const PackedEntry& entry, const OpenAnswer& answer);
  // Bytes taken by WRITE or COPY_FILE_RANGE.
  bool replyCount(uint64_t id, uint64_t bytes);
  // Copies the data that came with a job, up to `length` bytes; how many it was.
  size_t takePayload(uint64_t id, uint8_t* to, size_t length);

  void putAttributes(const PackedEntry& entry);
  void expireEntry(uint64_t parent);
  void expireAttributes(uint64_t ino);
  // The next open asks JavaScript where the content is.
  void expireContent(uint64_t ino);

  // Called every so often: deadlines, and interrupts that did not end a wait at first.
  void tick();
  // A range of a file on disk (device, inode) is being written, may be read, or is not written any more: the progress of
  // receivers, which parked reads do not wait for JavaScript to learn of. From any thread.
  void fileComing(dev_t device, ino_t inode, Range range);
  void filePresent(dev_t device, ino_t inode, Range range);
  void fileOver(dev_t device, ino_t inode, Range range);
  // Answers parked reads whose bytes have come. False when there was none.
  bool answerParked(Scratch& scratch);
  // Called (outside the lock) when answerParked has work.
  void setParkedReady(std::function<void()> ready) { parkedReady_ = std::move(ready); }

  // Ends everything that waits, and everything that still comes, with ENOTCONN.
  void end();

  uint64_t counter(Counter which) const { return counters_[which].load(std::memory_order_relaxed); }
  struct Gauges {
    size_t inodes, listed, handles, pending, sealed, openFiles;
  };
  Gauges gauges();
  uint32_t maxRead() const { return config_.maxRead; }
  bool ready() const { return ready_.load(); }
  bool expireOnly() const { return expireOnly_.load(); }

 private:
  struct Handle {
    uint64_t nodeid = 0;
    uint64_t script = 0;
    OpenMode mode = OpenMode::kCached;
    std::shared_ptr<Backing> backing;
    // A reader that goes on: where its last read ended, and the one that JavaScript was told of.
    uint64_t readTo = 0, toldTo = 0;
    // Directories.
    std::shared_ptr<Listing> listing;
    bool writable = false;
    size_t hint = 0;         // where the last reader stopped in `listing`
    bool complete = false;   // what the listing lacks does not exist
    // Files opened without JavaScript: reads that wait until it has opened them too.
    std::vector<uint64_t> waiting;
    bool asked = false;
  };
  // Opens of one inode, and its file for passthrough (fuse-limits: mixing the two kinds is EIO at open).
  struct Opens {
    uint32_t cached = 0;
    uint32_t passthrough = 0;
    int backingId = 0;
  };
  struct Sealed {
    std::shared_ptr<Backing> backing;
    Millis expiry;
  };
  struct Parked {
    Pending request;
    std::vector<Part> parts;
  };
  using Lock = std::unique_lock<std::mutex>;

  // server.cc
  void count(Counter which, uint64_t amount = 1) { counters_[which].fetch_add(amount, std::memory_order_relaxed); }
  int send(uint64_t unique, int error, const void* payload = nullptr, size_t length = 0);
  void malformed(const Request& request, int error = EIO);
  int sendEntry(uint64_t unique, const EntryOut& entry);
  void undoLookups(const std::vector<uint64_t>& inodes);
  int sendAttributes(uint64_t unique, const Attributes& attributes, Millis ttl);
  static void setCaller(Job& job, const Pending& request);
  void toScript(const Request& request, Job job, Pending pending, bool slow = false);
  void giveBack(Forgets& forgets);
  void init(Request& request);
  void forget(Request& request);
  void batchForget(Request& request);
  void interrupt(Request& request);
  void cancel(uint64_t id, int error);
  void statfs(Request& request);

  // server-change.cc
  void change(Request& request);
  bool changeJob(Request& request, Job& job, Pending& pending);
  bool handleJob(uint64_t fh, bool wantWritable, uint64_t& script);
  void flushOrSync(Request& request);
  void afterChange(const Pending& request);

  // server-entry.cc
  void lookup(Request& request);
  void getattr(Request& request);
  void readlink(Request& request);
  void getxattr(Request& request);
  void listxattr(Request& request);
  int sendSized(uint64_t unique, uint32_t wanted, const void* bytes, size_t length);

  // server-directory.cc
  void opendir(Request& request);
  void readdir(Request& request, bool plus, Scratch& scratch);
  void releasedir(Request& request);
  bool encode(Handle& handle, uint64_t offset, size_t limit, bool plus, std::string& out, std::vector<uint64_t>& counted,
              uint64_t& wantedCookie);
  bool appendPage(Listing& listing, uint64_t directory, const uint8_t* page, size_t length, size_t& added);
  int sendListing(uint64_t unique, const std::string& out, const std::vector<uint64_t>& counted);
  uint64_t closeDirectory(uint64_t fh);
  void dropHandleListing(Handle& handle, Forgets& forgets);

  // server-open.cc
  void open(Request& request, Scratch& scratch);
  void release(Request& request);
  bool openSealed(uint64_t nodeid, Handle& handle);
  std::shared_ptr<Backing> backingFor(uint64_t nodeid, const OpenAnswer& answer);
  std::shared_ptr<Backing> knownBacking(uint64_t nodeid, dev_t device, ino_t inode, Range place);
  std::shared_ptr<Backing> newBacking(uint64_t nodeid, std::shared_ptr<OpenFd> file, dev_t device, ino_t inode, Range place);
  std::shared_ptr<Backing> segmentedBacking(uint64_t nodeid);
  std::shared_ptr<OpenFd> ownFd(int fd, dev_t device, ino_t inode);
  OpenMode chooseMode(uint64_t nodeid, const std::shared_ptr<Backing>& backing, bool keepCache, bool directIo);
  void closed(uint64_t nodeid, OpenMode mode);
  void dropBackingId(uint64_t nodeid);
  void seal(const std::shared_ptr<Backing>& backing);
  void trimSealed(Millis now, size_t most);
  OpenOut makeOpen(uint64_t fh, const Handle& handle, bool keepCache);
  int finishOpen(uint64_t unique, uint64_t fh, const Handle& handle, bool keepCache);

  // server-shared.cc
  struct SharedOpen {
    bool isNearMissing = false;  // JavaScript wants to know
    Part pages;                  // what the kernel is given before the answer; length 0: nothing
  };
  bool openShared(uint64_t nodeid, Handle& handle, SharedOpen& open);
  void storePages(uint64_t nodeid, const Part& pages, Scratch& scratch);
  std::shared_ptr<Backing> sharedBacking(uint64_t nodeid, const std::shared_ptr<SharedFile>& file, Range place);
  void awaitScript(uint64_t fh, Handle& handle, Pending pending);
  bool resume(Handle& handle, uint64_t pendingId);

  // server-read.cc
  void read(Request& request, Scratch& scratch);
  bool readParts(const std::vector<Part>& parts, uint64_t nodeid, uint64_t unique, Scratch& scratch);
  void readByScript(uint64_t pendingId, uint64_t script);
  void distrust(uint64_t nodeid);
  void park(const std::shared_ptr<Backing>& backing, uint64_t pendingId, Range range, uint64_t script);
  void startFills(Backing& backing, const std::shared_ptr<Backing>& shared, Range range, uint64_t script);
  void tellReader(Handle& handle, Backing& backing, Range range);
  void pushFill(Backing& backing, const std::shared_ptr<Backing>& shared, Range range, uint64_t script);
  void unpark(const std::shared_ptr<Backing>& backing, uint64_t pendingId, int error);

  // server-progress.cc
  std::vector<std::pair<std::shared_ptr<Backing>, Range>> backingsOf(dev_t device, ino_t inode, Range range);
  bool releasePresent(Backing& backing);

  const ServerConfig config_;
  Channel& channel_;
  JobQueue& jobs_;
  std::function<void()> parkedReady_;

  std::mutex mutex_;
  InodeTable inodes_;
  PendingTable pending_;
  uint64_t lastHandle_ = 0;
  uint64_t lastFill_ = 0;
  std::unordered_map<uint64_t, Handle> handles_;
  std::unordered_map<uint64_t, Opens> opens_;
  std::unordered_map<uint64_t, Sealed> sealed_;
  std::unordered_map<uint32_t, std::shared_ptr<SharedFile>> shared_;  // by number
  std::unordered_map<uint64_t, std::weak_ptr<Backing>> partial_;   // by nodeid
  std::unordered_map<uint64_t, std::shared_ptr<Backing>> fills_;   // by fill id
  std::map<std::pair<dev_t, ino_t>, std::weak_ptr<OpenFd>> files_;
  std::vector<Parked> parked_;  // their bytes are there, an answer is due
  struct CachedXattr {
    std::string value;
    Millis expiry;
  };
  std::unordered_map<std::string, CachedXattr> xattrs_;
  StatfsOut statfs_{};
  Millis statfsExpiry_ = 0;
  Millis nextTrim_ = 0;

  std::atomic<bool> ready_{false};
  std::atomic<bool> ending_{false};
  std::atomic<bool> expireOnly_{false};
  std::atomic<bool> passthrough_{false};
  std::array<std::atomic<uint64_t>, kCounterEnd> counters_{};
};

}  // namespace imgfs::fuse
