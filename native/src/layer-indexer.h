// One pass over a layer blob: digest, decoding, tar headers, and the places where reading can start again.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "decoder.h"
#include "hashes.h"
#include "tar/parser.h"

namespace imgfs {

// A closed span: the record of src/layer/index/span.ts, 80 bytes.
struct SpanRecord {
  double in;        // first byte of the blob that it needs (shared with the span before when bits > 0)
  double inEnd;     // one behind the last byte it needs
  double out;       // first byte of the decoded archive that it yields
  double outEnd;    // one behind the last
  uint8_t kind;     // StartKind
  uint8_t bits;
  uint16_t reserved;
  uint32_t crc;     // CRC-32 of the decoded bytes
  uint8_t sha256[32];  // of the blob's bytes [in, inEnd)
  uint32_t windowLength;   // bytes of window to give to the decoder
  uint32_t windowStored;   // bytes of it in the list of windows: raw deflate
};
static_assert(sizeof(SpanRecord) == 80, "read by JavaScript");

struct IndexerOptions {
  Format format = Format::gzip;
  BlobHash::Algorithm algorithm = BlobHash::Algorithm::sha256;
  // Decoding can start again at the first good place after this many decoded bytes.
  uint64_t spanBytes = 1 << 20;
};

class LayerIndexer {
 public:
  explicit LayerIndexer(const IndexerOptions& options);

  // Ready to run? Not when the format cannot be decoded here; `error` says why.
  bool ready() const { return error_.empty(); }

  // Go on at a saved place instead of the start. False when the bytes are not such a place.
  bool restore(const uint8_t* data, size_t length);

  // Take bytes of the blob; stops early when `outBudget` decoded bytes or `entryBudget` entries came out of it.
  // Returns the bytes consumed. Look at `error` afterwards.
  size_t step(const uint8_t* data, size_t length, uint64_t outBudget, uint32_t entryBudget);

  // The blob is over: checks that it may be, closes the last span, finishes the digest.
  bool finish();

  // Decoded bytes are also written here, at their offset; -1: nowhere.
  void keepDecodedIn(int fd) { decodedFd_ = fd; }

  std::vector<uint8_t> takeEntries() { return tar_.takeEntries(); }
  std::vector<uint8_t> takeSpans();
  std::vector<uint8_t> takeWindows();
  // The newest place to go on from; see `Resume`.
  std::vector<uint8_t> saved() const;

  uint64_t inTotal() const { return inTotal_; }
  uint64_t outTotal() const { return outTotal_; }
  const std::string& digest() const { return digest_; }
  const std::string& error() const { return error_; }
  bool errorIsTar() const { return errorIsTar_; }
  bool errorIsWrite() const { return errorIsWrite_; }
  uint64_t errorOffset() const { return errorOffset_; }

 private:
  void consume(const uint8_t* data, size_t length);
  bool deliver(const uint8_t* data, size_t length);
  uint64_t pieces() const;
  uint64_t longestOut() const;
  uint64_t longestIn() const;
  bool hasLength(uint64_t out) const;
  void atEvent(Event event);
  void openSpan(StartKind kind, uint8_t bits);
  void closeSpan(bool isFollowedInside);
  void settleWindow();
  uint8_t* room(size_t& length);
  bool fail(const std::string& reason);

  // Everything as it was when the last span began at which decoding can start.
  struct Resume {
    double in = 0, out = 0;
    uint8_t kind = 0, bits = 0, firstByte = 0;
    std::vector<uint8_t> window, tar, hash;
    uint64_t entries = 0, spans = 0;
  };

  IndexerOptions options_;
  std::unique_ptr<Decoder> decoder_;
  TarParser tar_;
  BlobHash hash_;
  uint64_t inTotal_ = 0;
  uint64_t outTotal_ = 0;
  uint64_t entryTotal_ = 0;
  uint64_t spanTotal_ = 0;
  uint8_t lastByte_ = 0;
  int decodedFd_ = -1;

  // The span under way.
  Start start_;
  uint8_t firstByte_ = 0;
  uint64_t spanIn_ = 0;
  uint64_t spanOut_ = 0;
  // Where the last span began at which decoding can start.
  uint64_t startIn_ = 0;
  uint64_t startOut_ = 0;
  SHA256_CTX spanHash_ = {};
  bool windowOpen_ = false;
  bool windowReferenced_ = false;
  // What is decoded goes here, from the beginning again when it is full.
  std::vector<uint8_t> buffer_;
  size_t bufferAt_ = 0;
  Resume resume_;

  std::vector<uint8_t> spans_;
  std::vector<uint8_t> windows_;
  std::string digest_;
  std::string error_;
  bool errorIsTar_ = false;
  bool errorIsWrite_ = false;
  uint64_t errorOffset_ = 0;
};

}  // namespace imgfs
