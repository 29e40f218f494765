// libFuzzer target: arbitrary bytes as deflate streams, through our inflater and through zlib.
//
// Both must give the same bytes, the same verdict in the same words, and use as much of the input; in pieces of any
// length; and decoding may start again at every block with what of its window is referred to.
#include <cstdlib>

#include "inflate-run.h"

using namespace imgfs;

namespace {

// More than two windows.
constexpr size_t kMaxOutput = 70000;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "inflate-fuzz: %s\n", what);
  std::abort();
}

void fuzzStarts(const std::string& deflated, const std::string& whole) {
  size_t left = 8;
  for (const BlockStart& found : blockStarts(deflated, kMaxOutput)) {
    if (left-- == 0) break;
    const InflateStart start{found.start.bits, found.start.firstByte, found.reduced};
    const Inflated rest = inflateByUs(deflated.substr(found.in), start, {}, kMaxOutput - found.out);
    require(whole.compare(found.out, std::string::npos, rest.output) == 0, "a start gives other bytes");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  InflateStart start{static_cast<uint8_t>(data[0] % 8), data[1], {}};
  for (size_t at = 0; at < data[0] / 8 * 1057u; ++at) start.window.push_back(static_cast<uint8_t>(at * 7));
  const Pieces pieces{1u + data[2] % 64, 1u + data[3] * 5u, data[2] >= 128};
  const std::string deflated(reinterpret_cast<const char*>(data + 4), size - 4);
  const Inflated theirs = inflateByZlib(deflated, start, kMaxOutput);
  require(inflateByUs(deflated, start, {}, kMaxOutput) == theirs, "not what zlib says");
  require(inflateByUs(deflated, start, pieces, kMaxOutput) == theirs, "not what zlib says, in pieces");
  if (start.bits == 0 && start.window.empty()) fuzzStarts(deflated, theirs.output);
  return 0;
}
