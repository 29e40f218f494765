// The FUSE wire format: what the kernel sends and expects on /dev/fuse.
//
// Own definitions after include/uapi/linux/fuse.h of Linux 6.18 (protocol 7.45), because the header of a distribution
// is often older than the kernel it runs on. Only what this driver uses. All integers are of the machine's own order;
// every structure is padded to 64 bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace imgfs::fuse {

constexpr uint32_t kMajor = 7;
constexpr uint32_t kMinor = 45;
// Linux 5.4: FUSE_MAX_PAGES, FUSE_CACHE_SYMLINKS, FUSE_EXPLICIT_INVAL_DATA and 64-bit aligned replies are all there.
constexpr uint32_t kOldestMinor = 31;
constexpr uint64_t kRootNode = 1;
// d_ino of ".." when the parent is not known (the kernel's own placeholder, FUSE_UNKNOWN_INO).
constexpr uint64_t kUnknownInode = 0xffffffff;

enum Opcode : uint32_t {
  kLookup = 1,
  kForget = 2,
  kGetattr = 3,
  kSetattr = 4,
  kReadlink = 5,
  kSymlink = 6,
  kMknod = 8,
  kMkdir = 9,
  kUnlink = 10,
  kRmdir = 11,
  kRename = 12,
  kLink = 13,
  kOpen = 14,
  kRead = 15,
  kWrite = 16,
  kStatfs = 17,
  kRelease = 18,
  kFsync = 20,
  kSetxattr = 21,
  kGetxattr = 22,
  kListxattr = 23,
  kRemovexattr = 24,
  kFlush = 25,
  kInit = 26,
  kOpendir = 27,
  kReaddir = 28,
  kReleasedir = 29,
  kFsyncdir = 30,
  kGetlk = 31,
  kSetlk = 32,
  kSetlkw = 33,
  kAccess = 34,
  kCreate = 35,
  kInterrupt = 36,
  kBmap = 37,
  kDestroy = 38,
  kIoctl = 39,
  kPoll = 40,
  kNotifyReply = 41,
  kBatchForget = 42,
  kFallocate = 43,
  kReaddirplus = 44,
  kRename2 = 45,
  kLseek = 46,
  kCopyFileRange = 47,
  kSyncfs = 50,
  kTmpfile = 51,
  kStatx = 52,
  kCopyFileRange64 = 53,
  kOpcodeEnd = 54,
};

// Flags of INIT; bits from 32 up travel in `flags2`.
constexpr uint64_t kInitAsyncRead = 1ull << 0;
constexpr uint64_t kInitAtomicTruncate = 1ull << 3;
constexpr uint64_t kInitBigWrites = 1ull << 5;
constexpr uint64_t kInitReaddirplus = 1ull << 13;
constexpr uint64_t kInitReaddirplusAuto = 1ull << 14;
constexpr uint64_t kInitAsyncDirectIo = 1ull << 15;
constexpr uint64_t kInitParallelDirops = 1ull << 18;
constexpr uint64_t kInitAbortError = 1ull << 21;
constexpr uint64_t kInitMaxPages = 1ull << 22;
constexpr uint64_t kInitCacheSymlinks = 1ull << 23;
constexpr uint64_t kInitExplicitInvalData = 1ull << 25;
constexpr uint64_t kInitExt = 1ull << 30;
constexpr uint64_t kInitHasExpireOnly = 1ull << 35;
constexpr uint64_t kInitPassthrough = 1ull << 37;

constexpr uint32_t kOpenDirectIo = 1u << 0;
constexpr uint32_t kOpenKeepCache = 1u << 1;
constexpr uint32_t kOpenCacheDir = 1u << 3;
constexpr uint32_t kOpenNoFlush = 1u << 5;
constexpr uint32_t kOpenPassthrough = 1u << 7;

// Fields of SETATTR that are meant.
constexpr uint32_t kSetMode = 1u << 0;
constexpr uint32_t kSetUid = 1u << 1;
constexpr uint32_t kSetGid = 1u << 2;
constexpr uint32_t kSetSize = 1u << 3;
constexpr uint32_t kSetAtime = 1u << 4;
constexpr uint32_t kSetMtime = 1u << 5;
constexpr uint32_t kSetFh = 1u << 6;
constexpr uint32_t kSetAtimeNow = 1u << 7;
constexpr uint32_t kSetMtimeNow = 1u << 8;

constexpr int32_t kNotifyInvalInode = 2;
constexpr int32_t kNotifyInvalEntry = 3;
constexpr int32_t kNotifyStore = 4;
constexpr uint32_t kExpireOnly = 1u << 0;

struct InHeader {
  uint32_t len, opcode;
  uint64_t unique, nodeid;
  uint32_t uid, gid, pid;
  uint16_t totalExtLen, padding;
};
struct OutHeader {
  uint32_t len;
  int32_t error;
  uint64_t unique;
};
struct WireAttr {
  uint64_t ino, size, blocks, atime, mtime, ctime;
  uint32_t atimeNsec, mtimeNsec, ctimeNsec, mode, nlink, uid, gid, rdev, blksize, flags;
};
struct EntryOut {
  uint64_t nodeid, generation, entryValid, attrValid;
  uint32_t entryValidNsec, attrValidNsec;
  WireAttr attr;
};
struct AttrOut {
  uint64_t attrValid;
  uint32_t attrValidNsec, dummy;
  WireAttr attr;
};
struct ForgetIn {
  uint64_t nlookup;
};
struct ForgetOne {
  uint64_t nodeid, nlookup;
};
struct BatchForgetIn {
  uint32_t count, dummy;
};
struct OpenIn {
  uint32_t flags, openFlags;
};
struct OpenOut {
  uint64_t fh;
  uint32_t openFlags;
  int32_t backingId;
};
struct ReleaseIn {
  uint64_t fh;
  uint32_t flags, releaseFlags;
  uint64_t lockOwner;
};
struct ReadIn {
  uint64_t fh, offset;
  uint32_t size, readFlags;
  uint64_t lockOwner;
  uint32_t flags, padding;
};
struct GetxattrIn {
  uint32_t size, padding;
};
struct GetxattrOut {
  uint32_t size, padding;
};
struct InterruptIn {
  uint64_t unique;
};
struct CreateIn {
  uint32_t flags, mode, umask, openFlags;
};
struct MkdirIn {
  uint32_t mode, umask;
};
struct RenameIn {
  uint64_t newdir;
};
struct Rename2In {
  uint64_t newdir;
  uint32_t flags, padding;
};
struct LinkIn {
  uint64_t oldnodeid;
};
struct WriteIn {
  uint64_t fh, offset;
  uint32_t size, writeFlags;
  uint64_t lockOwner;
  uint32_t flags, padding;
};
struct WriteOut {
  uint32_t size, padding;
};
struct SetattrIn {
  uint32_t valid, padding;
  uint64_t fh, size, lockOwner, atime, mtime, ctime;
  uint32_t atimeNsec, mtimeNsec, ctimeNsec, mode, unused4, uid, gid, unused5;
};
struct FlushIn {
  uint64_t fh;
  uint32_t unused, padding;
  uint64_t lockOwner;
};
struct FsyncIn {
  uint64_t fh;
  uint32_t fsyncFlags, padding;
};
struct CopyFileRangeIn {
  uint64_t fhIn, offIn, nodeidOut, fhOut, offOut, len, flags;
};
struct CopyFileRangeOut {
  uint64_t bytesCopied;
};
struct StatfsOut {
  uint64_t blocks, bfree, bavail, files, ffree;
  uint32_t bsize, namelen, frsize, padding, spare[6];
};
struct InitIn {
  uint32_t major, minor, maxReadahead, flags;
};
struct InitOut {
  uint32_t major, minor, maxReadahead, flags;
  uint16_t maxBackground, congestionThreshold;
  uint32_t maxWrite, timeGran;
  uint16_t maxPages, mapAlignment;
  uint32_t flags2, maxStackDepth;
  uint16_t requestTimeout, unused[11];
};
struct Dirent {
  uint64_t ino, off;
  uint32_t namelen, type;
};
struct StoreOut {
  uint64_t nodeid;
  uint64_t offset;
  uint32_t size;
  uint32_t padding;
};

struct InvalInodeOut {
  uint64_t ino;
  int64_t off, len;
};
struct InvalEntryOut {
  uint64_t parent;
  uint32_t namelen, flags;
};
struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};

static_assert(sizeof(InHeader) == 40 && sizeof(OutHeader) == 16, "kernel headers");
static_assert(sizeof(WireAttr) == 88 && sizeof(EntryOut) == 128 && sizeof(AttrOut) == 104, "attributes");
static_assert(sizeof(InitOut) == 64 && sizeof(ReadIn) == 40 && sizeof(OpenOut) == 16, "requests");
static_assert(sizeof(StatfsOut) == 80 && sizeof(Dirent) == 24 && sizeof(BackingMap) == 16, "others");
static_assert(sizeof(SetattrIn) == 88 && sizeof(WriteIn) == 40 && sizeof(CopyFileRangeIn) == 56, "changes");

// ioctl numbers of the device: _IOW(229, 1, BackingMap) and _IOW(229, 2, uint32_t).
constexpr unsigned long kIocBackingOpen = 0x4010e501ul;
constexpr unsigned long kIocBackingClose = 0x4004e502ul;

// Records of a directory reply are aligned to 64 bits.
constexpr size_t alignRecord(size_t length) { return (length + 7) & ~size_t{7}; }

}  // namespace imgfs::fuse
