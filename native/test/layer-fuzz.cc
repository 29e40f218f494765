// libFuzzer target: arbitrary bytes as layers, as saved states and as spans.
//
// The first byte says what the rest is. Whatever it is, nothing may be read or written out of bounds, and
//   - an archive in pieces, or with the parser saved and restored in the middle, is the same archive;
//   - every span that a pass closed decodes again to the bytes that the pass saw;
//   - a walk over headers says the same whole and in steps, and nothing that is not in the archive.
// A failure of these ends the process, as a memory error does.
#include <cstdlib>

#include "pass-run.h"
#include "walk-check.h"

using namespace imgfs;

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "layer-fuzz: %s\n", what);
  std::abort();
}

struct Parsed {
  bool ok;
  std::string error;
  std::vector<uint8_t> entries;
};

Parsed parse(const std::string& archive, size_t pieceBytes) {
  TarParser parser;
  bool ok = true;
  for (size_t at = 0; ok && at < archive.size(); at += pieceBytes) {
    ok = parser.feed(bytesOf(archive) + at, std::min(pieceBytes, archive.size() - at));
  }
  ok = ok && parser.end();
  return {ok, parser.error(), parser.takeEntries()};
}

// Headers in the input have the checksum that their bytes ask for: the fuzzer gets behind the first test.
std::string withChecksums(std::string archive) {
  for (size_t at = 0; at + 512 <= archive.size(); at += 512) {
    if (archive[at] == 0 || archive.compare(at + 257, 5, "ustar") != 0) continue;
    unsigned sum = 0;
    for (size_t byte = 0; byte < 512; ++byte) {
      sum += byte >= 148 && byte < 156 ? ' ' : static_cast<uint8_t>(archive[at + byte]);
    }
    char number[16];
    std::snprintf(number, sizeof number, "%06o", sum);
    archive.replace(at + 148, 7, std::string(number, 7));
    archive[at + 155] = ' ';
  }
  return archive;
}

void fuzzArchive(const std::string& input, size_t pieceBytes) {
  const std::string archive = withChecksums(input);
  if (const char* wrong = wrongWalks(archive)) require(false, wrong);
  const Parsed whole = parse(archive, std::max<size_t>(archive.size(), 1));
  const Parsed pieces = parse(archive, pieceBytes);
  require(whole.ok == pieces.ok && whole.error == pieces.error && whole.entries == pieces.entries,
          "pieces give another archive");
  TarParser first;
  const size_t cut = archive.size() / 2;
  if (!first.feed(bytesOf(archive), cut)) return;
  std::vector<uint8_t> state;
  ByteWriter writer(state);
  first.save(writer);
  TarParser second;
  ByteReader reader(state.data(), state.size());
  require(second.restore(reader), "a saved state is refused");
  auto entries = first.takeEntries();
  const bool ok = second.feed(bytesOf(archive) + cut, archive.size() - cut) && second.end();
  const auto rest = second.takeEntries();
  entries.insert(entries.end(), rest.begin(), rest.end());
  require(ok == whole.ok && entries == whole.entries, "a restored parser gives another archive");
}

void fuzzPass(const std::string& blob, Format format, size_t pieceBytes) {
  const PassResult pass = runPass(blob, format, 32768, pieceBytes);
  require(firstWrongSpan(pass, blob, format) == -1, "a span decodes to other bytes");
}

void fuzzState(const std::string& state, const std::string& blob, Format format) {
  IndexerOptions options;
  options.format = format;
  options.spanBytes = 32768;
  LayerIndexer indexer(options);
  if (!indexer.restore(bytesOf(state), state.size())) return;
  PassResult rest;
  feedPieces(indexer, blob, 0, 4096, rest);
  if (rest.error.empty()) indexer.finish();
}

// A span record that lies: the window, the kind and the lengths are anything.
void fuzzSpan(const std::string& input) {
  if (input.size() < 8) return;
  const auto byte = [&input](size_t at) { return static_cast<uint8_t>(input[at]); };
  const size_t windowStored = std::min<size_t>(input.size() - 8, byte(2) | byte(3) << 8);
  const size_t windowLength = (byte(4) | byte(5) << 8) % (kWindow + 1);
  SpanReader reader(static_cast<Format>(byte(0) % 3), static_cast<StartKind>(byte(1) % 3), byte(6) % 8,
                    bytesOf(input) + 8, windowStored, windowLength);
  if (!reader.ready()) return;
  const std::string span = input.substr(8 + windowStored);
  uint8_t digest[32];
  sha256Of(bytesOf(span), span.size(), digest);
  std::vector<uint8_t> output(byte(7) * 256);
  for (int times = 0; times < 3; ++times) {
    reader.read(bytesOf(span), span.size(), output.data(), output.size(), digest, 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const uint8_t kind = data[0];
  const size_t pieceBytes = 1 + data[1] * 37;
  const std::string input(reinterpret_cast<const char*>(data + 2), size - 2);
  // Behind the end of an archive anything may follow: so all of it is decoded, whatever it is.
  const std::string ended = std::string(1024, '\0') + input;
  switch (kind % 8) {
    case 0: fuzzArchive(input, pieceBytes); break;
    case 1: fuzzPass(input, Format::gzip, pieceBytes); break;
    case 2: fuzzPass(input, Format::zstd, pieceBytes); break;
    case 3: fuzzPass(gzipBytes(ended, kind / 8 % 10), Format::gzip, pieceBytes); break;
    case 4: fuzzPass(gzipBytes(ended, kind / 8 % 10, pieceBytes * 16), Format::gzip, pieceBytes); break;
    case 5: fuzzSpan(input); break;
    case 6: fuzzState(input.substr(0, input.size() / 2), input.substr(input.size() / 2), Format::gzip); break;
    default: fuzzPass(withChecksums(input), Format::plain, pieceBytes); break;
  }
  return 0;
}
