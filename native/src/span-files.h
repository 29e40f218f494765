// Decodes spans from the file that holds the blob into the file that holds the decoded archive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "span-reader.h"

namespace imgfs {

// Beyond `SpanResult`: the files did not do what was asked of them.
enum class FilesResult : uint32_t { ok, wrongInput, wrongIndex, notRead, notWritten };

// A descriptor of our own for the same open file, so that it stays what it is until we are done.
class OwnedFd {
 public:
  explicit OwnedFd(int fd);
  ~OwnedFd();
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

struct FilesOutcome {
  // Spans that are decoded, checked and written.
  size_t done = 0;
  // Of the span behind them, if there is one.
  FilesResult result = FilesResult::ok;
};

// `records` are those of spans that follow each other and what `reader` has read, 80 bytes each. A span is written only
// when it is right. After `wrongInput` and `notRead` the reader has not taken the span yet; after the others it is of no
// use.
FilesOutcome decodeBetweenFiles(SpanReader& reader, const std::vector<uint8_t>& records, int blobFd, int decodedFd);

// How many of these spans, from the first on, are in the file as they should be: by the CRC-32 of their bytes.
size_t countRight(const std::vector<uint8_t>& records, int decodedFd);

}  // namespace imgfs
