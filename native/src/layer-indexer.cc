#include "layer-indexer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace imgfs {

namespace {

// Memory for output: the 32 KiB that are kept when it is full cost an eighth of a copy, and it stays in the second cache.
constexpr size_t kOut = 256 * 1024;
// With less room than this the decoder would go token by token.
constexpr size_t kLeastRoom = 1024;
// A member that is not longer than this is worth waiting for: its end needs no window.
constexpr uint64_t kShortUnit = 256 * 1024;
// Of what lies between two starts, a reader of one small file needs 9/16 on average: 220 KB of gzip where whole spans
// would be 390.
constexpr uint64_t kPieces = 8;

// Starts are no further apart than this in the blob: where it compresses less than 8:3, a read would cost more, and the
// index, which is 2 KB of window for each start, is 0.7 % of the blob.
constexpr uint64_t inBytesOf(uint64_t outBytes) { return outBytes * 3 / 8; }
constexpr uint32_t kResumeVersion = 2;

}  // namespace

LayerIndexer::LayerIndexer(const IndexerOptions& options)
    : options_(options), decoder_(makeDecoder(options.format, true)), hash_(options.algorithm), buffer_(kOut) {
  if (!decoder_) {
    fail("libzstd could not be loaded");
    return;
  }
  if (!decoder_->begin(start_, 0)) fail(decoder_->error());
  openSpan(StartKind::fresh, 0);
}

bool LayerIndexer::fail(const std::string& reason) {
  error_ = reason;
  errorOffset_ = inTotal_;
  return false;
}

size_t LayerIndexer::step(const uint8_t* data, size_t length, uint64_t outBudget, uint32_t entryBudget) {
  const uint8_t* in = data;
  size_t inLength = length;
  const uint64_t outStart = outTotal_;
  for (;;) {
    if (!error_.empty()) break;
    if (outTotal_ - outStart >= outBudget || tar_.entryCount() >= entryBudget) break;
    const uint8_t* before = in;
    size_t outLength = 0;
    uint8_t* out = room(outLength);
    const uint8_t* const outBefore = out;
    size_t offered = std::min<uint64_t>(inLength, longestIn() - (inTotal_ - spanIn_));
    const Event event = decoder_->run(in, offered, out, outLength);
    inLength -= static_cast<size_t>(in - before);
    bufferAt_ += static_cast<size_t>(out - outBefore);
    consume(before, static_cast<size_t>(in - before));
    if (!deliver(outBefore, static_cast<size_t>(out - outBefore))) break;
    if (event == Event::error) {
      fail(decoder_->error());
      break;
    }
    atEvent(event);
    if (event == Event::none && in == before && out == outBefore) break;
  }
  return static_cast<size_t>(in - data);
}

// Where output goes, no further than the span may become long.
uint8_t* LayerIndexer::room(size_t& length) {
  if (buffer_.size() - bufferAt_ < kLeastRoom) {
    decoder_->leaveOutput();
    bufferAt_ = 0;
  }
  length = std::min<uint64_t>(buffer_.size() - bufferAt_, spanOut_ + longestOut() - outTotal_);
  return buffer_.data() + bufferAt_;
}

void LayerIndexer::consume(const uint8_t* data, size_t length) {
  if (length == 0) return;
  hash_.updateWith(spanHash_, data, length);
  inTotal_ += length;
  lastByte_ = data[length - 1];
}

bool LayerIndexer::deliver(const uint8_t* data, size_t length) {
  if (length == 0) return true;
  for (size_t done = 0; decodedFd_ >= 0 && done < length;) {
    const ssize_t written = pwrite(decodedFd_, data + done, length - done, static_cast<off_t>(outTotal_ + done));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      // The cache disk is full or broken: indexing goes on, the bytes are just not kept.
      errorIsWrite_ = true;
      decodedFd_ = -1;
      break;
    }
    done += static_cast<size_t>(written);
  }
  outTotal_ += length;
  const uint32_t before = tar_.entryCount();
  const bool ok = tar_.feed(data, length);
  entryTotal_ += tar_.entryCount() - before;
  if (!ok) {
    fail(tar_.error());
    errorIsTar_ = true;
    errorOffset_ = tar_.errorOffset();
    return false;
  }
  if (windowOpen_ && outTotal_ - spanOut_ >= kWindow) settleWindow();
  return true;
}

// Spans of a plain archive end where they should, those of zstd do unless a frame ends before. What deflate yields
// between two starts is cut in eight: each piece has a digest of its own, so a reader fetches and checks no more than
// what lies before its byte. The last piece waits for the end of a block, for as long again.
uint64_t LayerIndexer::pieces() const {
  const uint64_t piece = options_.spanBytes / kPieces;
  const bool isLast = spanOut_ - startOut_ + piece >= options_.spanBytes ||
                      spanIn_ - startIn_ + inBytesOf(piece) >= inBytesOf(options_.spanBytes);
  return isLast ? 2 : 1;
}

uint64_t LayerIndexer::longestOut() const {
  if (options_.format != Format::gzip) return options_.spanBytes;
  return pieces() * options_.spanBytes / kPieces;
}

uint64_t LayerIndexer::longestIn() const {
  if (options_.format != Format::gzip) return UINT64_MAX;
  return inBytesOf(pieces() * options_.spanBytes / kPieces);
}

// So much was decoded since the last start, or what it takes of the blob when it compresses well.
bool LayerIndexer::hasLength(uint64_t out) const {
  return outTotal_ - startOut_ >= out || (options_.format == Format::gzip && inTotal_ - startIn_ >= inBytesOf(out));
}

void LayerIndexer::atEvent(Event event) {
  const bool isFull = outTotal_ - spanOut_ >= longestOut() || inTotal_ - spanIn_ >= longestIn();
  if (event == Event::boundary) {
    // Small members and frames are gathered.
    if (!isFull && !hasLength(options_.spanBytes / 2)) return;
    closeSpan(false);
    openSpan(StartKind::fresh, 0);
    return;
  }
  const bool endsSoon = decoder_->producedInUnit() < kShortUnit && !hasLength(2 * options_.spanBytes);
  if (event == Event::block && hasLength(options_.spanBytes) && !endsSoon) {
    const uint8_t bits = decoder_->bits();
    std::vector<uint8_t> window = decoder_->window();
    closeSpan(false);
    start_.window.swap(window);
    openSpan(StartKind::block, bits);
    decoder_->watchWindow();
    return;
  }
  if (!isFull) return;
  closeSpan(options_.format != Format::plain);
  openSpan(options_.format == Format::plain ? StartKind::fresh : StartKind::inside, 0);
}

void LayerIndexer::openSpan(StartKind kind, uint8_t bits) {
  start_.kind = kind;
  start_.bits = bits;
  if (kind != StartKind::block) start_.window.clear();
  spanIn_ = inTotal_ - (bits > 0 ? 1 : 0);
  spanOut_ = outTotal_;
  if (kind != StartKind::inside) {
    startIn_ = spanIn_;
    startOut_ = spanOut_;
  }
  SHA256_Init(&spanHash_);
  firstByte_ = bits > 0 ? lastByte_ : 0;
  if (bits > 0) SHA256_Update(&spanHash_, &firstByte_, 1);
  windowOpen_ = kind == StartKind::block && !start_.window.empty();
  windowReferenced_ = false;

  // A pass cannot go on where decoding cannot start.
  if (kind == StartKind::inside) return;
  resume_ = Resume();
  resume_.in = static_cast<double>(spanIn_);
  resume_.out = static_cast<double>(spanOut_);
  resume_.kind = static_cast<uint8_t>(kind);
  resume_.bits = bits;
  resume_.firstByte = firstByte_;
  resume_.window = start_.window;
  ByteWriter tar(resume_.tar), hash(resume_.hash);
  tar_.save(tar);
  hash_.save(hash);
  resume_.entries = entryTotal_;
  resume_.spans = spanTotal_;
}

// Reduce the window of the span under way to what its data refers to.
void LayerIndexer::settleWindow() {
  if (!windowOpen_) return;
  windowOpen_ = false;
  windowReferenced_ = decoder_->keepReferenced(start_.window);
}

void LayerIndexer::closeSpan(bool isFollowedInside) {
  // Cut before it is known what refers to the window: spans that are decoded behind this one may.
  if (windowOpen_ && isFollowedInside) {
    windowOpen_ = false;
    windowReferenced_ = true;
  }
  settleWindow();
  SpanRecord record = {};
  record.in = static_cast<double>(spanIn_);
  record.inEnd = static_cast<double>(inTotal_);
  record.out = static_cast<double>(spanOut_);
  record.outEnd = static_cast<double>(outTotal_);
  record.kind = static_cast<uint8_t>(start_.kind);
  record.bits = start_.bits;
  record.crc = decoder_->takeCrc();
  SHA256_Final(record.sha256, &spanHash_);
  if (start_.kind == StartKind::block && windowReferenced_) {
    const std::vector<uint8_t> stored = deflateBytes(start_.window);
    record.windowLength = static_cast<uint32_t>(start_.window.size());
    record.windowStored = static_cast<uint32_t>(stored.size());
    windows_.insert(windows_.end(), stored.begin(), stored.end());
  }
  ByteWriter(spans_).value(record);
  ++spanTotal_;
}

bool LayerIndexer::finish() {
  // What the decoder still holds: less than one block.
  step(nullptr, 0, UINT64_MAX, UINT32_MAX);
  if (!error_.empty()) return false;
  if (!decoder_->atEnd()) return fail("blob breaks off inside its compressed stream");
  if (!tar_.end()) {
    fail(tar_.error());
    errorIsTar_ = true;
    errorOffset_ = tar_.errorOffset();
    return false;
  }
  if (outTotal_ > spanOut_ || spanTotal_ == 0) closeSpan(false);
  digest_ = hash_.finish();
  return true;
}

std::vector<uint8_t> LayerIndexer::takeSpans() {
  std::vector<uint8_t> taken;
  taken.swap(spans_);
  return taken;
}

std::vector<uint8_t> LayerIndexer::takeWindows() {
  std::vector<uint8_t> taken;
  taken.swap(windows_);
  return taken;
}

std::vector<uint8_t> LayerIndexer::saved() const {
  std::vector<uint8_t> bytes;
  ByteWriter writer(bytes);
  writer.value(kResumeVersion);
  writer.value(static_cast<uint32_t>(sizeof(SHA512_CTX)));
  writer.value(options_.format);
  writer.value(options_.spanBytes);
  writer.value(resume_.in);
  writer.value(resume_.out);
  writer.value(resume_.kind);
  writer.value(resume_.bits);
  writer.value(resume_.firstByte);
  writer.value(resume_.entries);
  writer.value(resume_.spans);
  for (const auto* part : {&resume_.window, &resume_.tar, &resume_.hash}) {
    writer.value(static_cast<uint32_t>(part->size()));
    writer.raw(part->data(), part->size());
  }
  return bytes;
}

bool LayerIndexer::restore(const uint8_t* data, size_t length) {
  ByteReader reader(data, length);
  if (reader.value<uint32_t>() != kResumeVersion || reader.value<uint32_t>() != sizeof(SHA512_CTX)) return false;
  if (reader.value<Format>() != options_.format || reader.value<uint64_t>() != options_.spanBytes) return false;
  const auto in = static_cast<uint64_t>(reader.value<double>());
  const auto out = static_cast<uint64_t>(reader.value<double>());
  const auto kind = static_cast<StartKind>(reader.value<uint8_t>());
  const auto bits = reader.value<uint8_t>();
  const auto firstByte = reader.value<uint8_t>();
  const auto entries = reader.value<uint64_t>();
  const auto spans = reader.value<uint64_t>();
  std::string window = reader.text(), tar = reader.text(), hash = reader.text();
  if (!reader.ok() || bits > 7 || kind > StartKind::block || window.size() > kWindow) return false;
  ByteReader tarReader(reinterpret_cast<const uint8_t*>(tar.data()), tar.size());
  ByteReader hashReader(reinterpret_cast<const uint8_t*>(hash.data()), hash.size());
  if (!tar_.restore(tarReader) || !hash_.restore(hashReader) || tar_.offset() != out) return false;
  inTotal_ = in + (bits > 0 ? 1 : 0);
  outTotal_ = out;
  entryTotal_ = entries;
  spanTotal_ = spans;
  lastByte_ = firstByte;
  start_.window.assign(window.begin(), window.end());
  openSpan(kind, bits);
  bufferAt_ = 0;
  decoder_->leaveOutput();
  if (!decoder_->begin(start_, firstByte)) return fail(decoder_->error());
  decoder_->takeCrc();
  if (windowOpen_) decoder_->watchWindow();
  return true;
}

}  // namespace imgfs
