#include "span-files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "hashes.h"
#include "layer-indexer.h"

namespace imgfs {

namespace {

// A span longer than this is read in JavaScript's way: 4 threads hold 16 MiB at most.
constexpr size_t kMaxBytes = 2 << 20;

// Memory of one thread for the spans it decodes: new memory for each would cost a third of decoding it.
struct Scratch {
  std::unique_ptr<uint8_t[]> bytes;
  size_t length = 0;

  uint8_t* atLeast(size_t wanted) {
    if (wanted > length) {
      bytes.reset(new uint8_t[wanted]);
      length = wanted;
    }
    return bytes.get();
  }
};

thread_local Scratch inputScratch;
thread_local Scratch outputScratch;

bool readAll(int fd, uint8_t* into, size_t length, uint64_t offset) {
  for (size_t at = 0; at < length;) {
    const ssize_t got = pread(fd, into + at, length - at, static_cast<off_t>(offset + at));
    if (got == 0 || (got < 0 && errno != EINTR)) return false;
    if (got > 0) at += static_cast<size_t>(got);
  }
  return true;
}

bool writeAll(int fd, const uint8_t* from, size_t length, uint64_t offset) {
  for (size_t at = 0; at < length;) {
    const ssize_t put = pwrite(fd, from + at, length - at, static_cast<off_t>(offset + at));
    if (put == 0 || (put < 0 && errno != EINTR)) return false;
    if (put > 0) at += static_cast<size_t>(put);
  }
  return true;
}

// Where the record in JavaScript says by what the span is known to be right.
constexpr size_t kCheckAt = 34;

SpanCheck checkOf(const uint8_t* record) { return static_cast<SpanCheck>(record[kCheckAt]); }

FilesResult decodeOne(SpanReader& reader, const SpanRecord& span, SpanCheck check, int blobFd, int decodedFd) {
  const size_t inputLength = static_cast<size_t>(span.inEnd - span.in);
  const size_t outputLength = static_cast<size_t>(span.outEnd - span.out);
  // Chunks of other indexes begin inside what decoding gives: not here.
  if (check == SpanCheck::output || inputLength > kMaxBytes || outputLength > kMaxBytes) return FilesResult::notRead;
  uint8_t* const input = inputScratch.atLeast(inputLength);
  uint8_t* const output = outputScratch.atLeast(outputLength);
  if (!readAll(blobFd, input, inputLength, static_cast<uint64_t>(span.in))) return FilesResult::notRead;
  switch (reader.read(input, inputLength, output, outputLength, span.sha256, span.crc, check)) {
    case SpanResult::wrongInput:
      return FilesResult::wrongInput;
    case SpanResult::wrongIndex:
      return FilesResult::wrongIndex;
    case SpanResult::ok:
      break;
  }
  return writeAll(decodedFd, output, outputLength, static_cast<uint64_t>(span.out)) ? FilesResult::ok
                                                                                   : FilesResult::notWritten;
}

}  // namespace

size_t countRight(const std::vector<uint8_t>& records, int decodedFd) {
  size_t right = 0;
  for (size_t at = 0; at + sizeof(SpanRecord) <= records.size(); at += sizeof(SpanRecord)) {
    SpanRecord span;
    memcpy(&span, records.data() + at, sizeof span);
    const size_t length = static_cast<size_t>(span.outEnd - span.out);
    if (checkOf(records.data() + at) != SpanCheck::both || length > kMaxBytes) break;
    uint8_t* const bytes = outputScratch.atLeast(length);
    if (!readAll(decodedFd, bytes, length, static_cast<uint64_t>(span.out))) break;
    if (static_cast<uint32_t>(crc32_z(crc32(0, nullptr, 0), bytes, length)) != span.crc) break;
    right += 1;
  }
  return right;
}

OwnedFd::OwnedFd(int fd) : fd_(fcntl(fd, F_DUPFD_CLOEXEC, 0)) {}

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) close(fd_);
}

FilesOutcome decodeBetweenFiles(SpanReader& reader, const std::vector<uint8_t>& records, int blobFd, int decodedFd) {
  FilesOutcome outcome;
  for (size_t at = 0; at + sizeof(SpanRecord) <= records.size(); at += sizeof(SpanRecord)) {
    SpanRecord span;
    memcpy(&span, records.data() + at, sizeof span);
    outcome.result = decodeOne(reader, span, checkOf(records.data() + at), blobFd, decodedFd);
    if (outcome.result != FilesResult::ok) break;
    outcome.done += 1;
  }
  return outcome;
}

}  // namespace imgfs
