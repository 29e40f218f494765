// Our inflater beside zlib.
#include <set>

#include "../src/inflate/gzip-header.h"
#include "../src/member-checksum.h"
#include "check.h"
#include "deflate-maker.h"
#include "inflate-run.h"

using namespace imgfs;

namespace {

struct Style {
  int level;
  int strategy;
  // How blocks are ended, besides where zlib ends them.
  int flush;
  size_t flushEvery;
};

const std::vector<Style>& styles() {
  static const std::vector<Style> all = {
      {0, Z_DEFAULT_STRATEGY, Z_NO_FLUSH, SIZE_MAX}, {1, Z_DEFAULT_STRATEGY, Z_NO_FLUSH, SIZE_MAX},
      {6, Z_DEFAULT_STRATEGY, Z_NO_FLUSH, SIZE_MAX}, {9, Z_DEFAULT_STRATEGY, Z_NO_FLUSH, SIZE_MAX},
      {6, Z_FIXED, Z_NO_FLUSH, SIZE_MAX},            {6, Z_HUFFMAN_ONLY, Z_NO_FLUSH, SIZE_MAX},
      {6, Z_RLE, Z_NO_FLUSH, SIZE_MAX},              {6, Z_DEFAULT_STRATEGY, Z_SYNC_FLUSH, 5000},
      {6, Z_DEFAULT_STRATEGY, Z_PARTIAL_FLUSH, 777}, {6, Z_DEFAULT_STRATEGY, Z_BLOCK, 1111},
      {6, Z_FIXED, Z_BLOCK, 333},                    {1, Z_DEFAULT_STRATEGY, Z_FULL_FLUSH, 20000},
  };
  return all;
}

std::string deflateIn(const std::string& bytes, const Style& style) {
  z_stream stream = {};
  CHECK_EQUAL(deflateInit2(&stream, style.level, Z_DEFLATED, -15, 8, style.strategy), Z_OK);
  std::string out(bytes.size() * 2 + 100000, '\0');
  stream.next_out = reinterpret_cast<uint8_t*>(&out[0]);
  stream.avail_out = static_cast<uInt>(out.size());
  for (size_t at = 0; at < bytes.size();) {
    const size_t take = std::min(style.flushEvery, bytes.size() - at);
    stream.next_in = const_cast<uint8_t*>(bytesOf(bytes) + at);
    stream.avail_in = static_cast<uInt>(take);
    at += take;
    deflate(&stream, at == bytes.size() ? Z_FINISH : style.flush);
  }
  if (bytes.empty()) deflate(&stream, Z_FINISH);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  return out;
}

// Text, long runs, noise, matches at every short distance and near the farthest one.
std::string mixture(size_t length, uint32_t seed) {
  Random random(seed);
  std::string bytes = sampleText(length / 3, seed);
  while (bytes.size() < length) {
    const size_t piece = 1 + random() % 600;
    switch (random() % 5) {
      case 0: bytes.append(piece, static_cast<char>(random())); break;
      case 1: for (size_t left = piece; left > 0; --left) bytes += static_cast<char>(random()); break;
      case 2: {
        const size_t distance = std::min<size_t>(bytes.size(), 1 + random() % 40);
        for (size_t left = piece; left > 0; --left) bytes += bytes[bytes.size() - distance];
        break;
      }
      default: {
        const size_t distance = std::min<size_t>(bytes.size(), 32768 - random() % (random() % 2 == 0 ? 8 : 32000));
        for (size_t left = piece; left > 0; --left) bytes += bytes[bytes.size() - distance];
        break;
      }
    }
  }
  bytes.resize(length);
  return bytes;
}

const std::vector<Pieces>& piecings() {
  static const std::vector<Pieces> all = {
      {SIZE_MAX, SIZE_MAX, false}, {1, SIZE_MAX, false}, {200, 1, false},  {7, 3, false},      {33, 400, false},
      {100, 1000, true},           {5, 30, true},         {4096, 40000, true},   {2000, 333, true},
  };
  return all;
}

}  // namespace

TEST(inflateAll, "inflate: every kind of block, in pieces of any length, is what was deflated") {
  for (const size_t length : {size_t{0}, size_t{1}, size_t{300}, size_t{90000}}) {
    const std::string bytes = mixture(length, static_cast<uint32_t>(length));
    for (const Style& style : styles()) {
      const std::string deflated = deflateIn(bytes, style);
      for (const Pieces& pieces : piecings()) {
        const Inflated ours = inflateByUs(deflated + "more", {}, pieces, length + 500);
        CHECK(ours.end == Inflated::End::whole);
        CHECK(ours.output == bytes);
        CHECK_EQUAL(ours.consumed, deflated.size());
      }
    }
  }
}

TEST(inflateFull, "inflate: output that is exactly as long as the stream, or shorter, is filled to its end") {
  const std::string bytes = mixture(70000, 5);
  for (const Style& style : styles()) {
    const std::string deflated = deflateIn(bytes, style);
    for (const size_t room : {size_t{1}, size_t{1000}, size_t{40000}, size_t{69999}, size_t{70000}}) {
      for (const Pieces& pieces : piecings()) {
        const Inflated ours = inflateByUs(deflated, {}, pieces, room);
        CHECK_EQUAL(ours.output.size(), room);
        CHECK(bytes.compare(0, room, ours.output) == 0);
      }
    }
  }
}

TEST(inflateStarts, "inflate: starts at every block and at every bit, with no more of the window than is referred to") {
  std::set<int> bitsSeen;
  bool somethingCleared = false;
  const std::string bytes = mixture(90000, 9);
  for (const Style& style : styles()) {
    const std::string deflated = deflateIn(bytes, style);
    for (const BlockStart& found : blockStarts(deflated, bytes.size() + 500)) {
      bitsSeen.insert(found.start.bits);
      somethingCleared |= found.reduced != found.start.window;
      const std::string rest = deflated.substr(found.in);
      CHECK(found.start.window.size() == std::min<size_t>(found.out, 32768));
      CHECK(std::equal(found.start.window.begin(), found.start.window.end(),
                       bytesOf(bytes) + found.out - found.start.window.size()));
      for (const auto* window : {&found.start.window, &found.reduced}) {
        const InflateStart start{found.start.bits, found.start.firstByte, *window};
        CHECK(inflateByZlib(rest, start, bytes.size() + 500).output == bytes.substr(found.out));
        for (const Pieces& pieces : {Pieces{}, Pieces{50, 90, true}}) {
          const Inflated ours = inflateByUs(rest, start, pieces, bytes.size() + 500);
          CHECK(ours.end == Inflated::End::whole);
          CHECK(bytes.compare(found.out, std::string::npos, ours.output) == 0);
        }
      }
      // Every byte that was kept is needed.
      if (found.out % 8 != 0) continue;
      for (size_t at = found.out % 97; at < found.reduced.size(); at += 2997) {
        if (found.reduced[at] == 0) continue;
        InflateStart spoilt{found.start.bits, found.start.firstByte, found.reduced};
        spoilt.window[at] = static_cast<uint8_t>(~spoilt.window[at]);
        CHECK(inflateByUs(rest, spoilt, {}, bytes.size()).output != bytes.substr(found.out));
      }
    }
  }
  CHECK_EQUAL(bitsSeen.size(), 8);
  CHECK(somethingCleared);
}

TEST(inflateDamage, "inflate: cut and damaged streams get the verdict of zlib, in its words") {
  Random random(3);
  std::set<std::string> verdicts;
  const std::string bytes = mixture(20000, 11);
  for (const Style& style : styles()) {
    const std::string deflated = deflateIn(bytes, style);
    for (int round = 0; round < 60; ++round) {
      std::string bad = deflated;
      for (size_t times = random() % 3; times > 0; --times) {
        bad[random() % bad.size()] ^= static_cast<char>(1 << random() % 8);
      }
      if (random() % 2 == 0) bad.resize(random() % (bad.size() + 1));
      const Inflated theirs = inflateByZlib(bad, {}, 60000);
      verdicts.insert(theirs.error);
      CHECK(inflateByUs(bad, {}, piecings()[random() % piecings().size()], 60000) == theirs);
    }
  }
  CHECK(verdicts.size() > 5);
}

TEST(inflateCodes, "inflate: codes that no compressor makes get the verdict of zlib, in its words") {
  Random random(4);
  std::set<std::string> verdicts;
  size_t whole = 0;
  for (int round = 0; round < 1500; ++round) {
    const std::string deflated = randomDeflate(random);
    InflateStart start;
    start.window.assign(random() % 3 == 0 ? random() % 32769 : 32768, static_cast<uint8_t>(round));
    start.bits = 0;
    const Inflated theirs = inflateByZlib(deflated, start, 50000);
    verdicts.insert(theirs.error);
    whole += theirs.end == Inflated::End::whole;
    CHECK(inflateByUs(deflated, start, {}, 50000) == theirs);
    CHECK(inflateByUs(deflated, start, piecings()[random() % piecings().size()], 50000) == theirs);
  }
  for (const char* said : {"", "invalid distance code", "invalid distance too far back", "invalid literal/lengths set",
                           "invalid distances set", "invalid code -- missing end-of-block"}) {
    CHECK(verdicts.count(said) == 1);
  }
  CHECK(whole > 20);
}

TEST(inflateNoise, "inflate: noise gets the verdict of zlib, in its words") {
  Random random(5);
  for (int round = 0; round < 3000; ++round) {
    std::string noise;
    for (size_t left = random() % 100; left > 0; --left) noise += static_cast<char>(random());
    InflateStart start{static_cast<uint8_t>(random() % 8), static_cast<uint8_t>(random()), {}};
    start.window.assign(random() % 1000, 'w');
    const Inflated theirs = inflateByZlib(noise, start, 5000);
    CHECK(inflateByUs(noise, start, {}, 5000) == theirs);
    CHECK(inflateByUs(noise, start, {1, 1, false}, 5000) == theirs);
  }
}

namespace {

// What zlib says of a gzip stream, and what our decoder says, in pieces.
std::string gzipByZlib(const std::string& blob) {
  z_stream stream = {};
  CHECK_EQUAL(inflateInit2(&stream, 15 + 16), Z_OK);
  std::string out(100000, '\0');
  stream.next_in = const_cast<uint8_t*>(bytesOf(blob));
  stream.avail_in = static_cast<uInt>(blob.size());
  stream.next_out = reinterpret_cast<uint8_t*>(&out[0]);
  stream.avail_out = static_cast<uInt>(out.size());
  const int code = inflate(&stream, Z_NO_FLUSH);
  const std::string said = code == Z_STREAM_END ? "whole" : code == Z_DATA_ERROR ? stream.msg : "cut";
  inflateEnd(&stream);
  return said;
}

std::string gzipByUs(const std::string& blob, size_t pieceBytes) {
  const auto decoder = makeDecoder(Format::gzip, false);
  decoder->begin(Start(), 0);
  std::vector<uint8_t> memory(100000);
  uint8_t* out = memory.data();
  size_t outLength = memory.size();
  for (size_t at = 0; at < blob.size();) {
    const std::vector<uint8_t> piece(bytesOf(blob) + at, bytesOf(blob) + at + std::min(pieceBytes, blob.size() - at));
    const uint8_t* in = piece.data();
    size_t inLength = piece.size();
    while (inLength > 0) {
      const Event event = decoder->run(in, inLength, out, outLength);
      if (event == Event::error) return decoder->error();
      if (event == Event::boundary) return "whole";
    }
    at += piece.size();
  }
  return "cut";
}

std::string gzipWith(uint8_t flags, bool rightChecksum, const std::string& bytes) {
  std::string header = std::string("\x1f\x8b\x08", 3) + static_cast<char>(flags) + std::string("time\0\3", 6);
  if (flags & 4) header += std::string("\5\0extra", 7);
  if (flags & 8) header += std::string("name\0", 5);
  if (flags & 16) header += std::string("comment\0", 8);
  if (flags & 2) {
    const uLong crc = crc32(0, bytesOf(header), static_cast<uInt>(header.size())) + (rightChecksum ? 0 : 1);
    header += static_cast<char>(crc & 255);
    header += static_cast<char>(crc >> 8 & 255);
  }
  const std::string plain = gzipBytes(bytes, 6);
  return header + plain.substr(10);
}

}  // namespace

TEST(gzipHeaders, "gzip: headers with every part, and damaged ones, get the verdict of zlib, in its words") {
  std::set<std::string> verdicts;
  const std::string bytes = mixture(3000, 1);
  for (int flags = 0; flags < 256; ++flags) {
    for (const bool rightChecksum : {true, false}) {
      const std::string blob = gzipWith(static_cast<uint8_t>(flags), rightChecksum, bytes);
      std::vector<std::string> all = {blob};
      if (flags < 32) {
        for (size_t at = 0; at < 40; ++at) {
          all.push_back(blob);
          all.back()[at] ^= 1;
          all.push_back(blob.substr(0, at));
        }
        for (size_t back = 1; back <= 8; ++back) {
          all.push_back(blob);
          all.back()[blob.size() - back] ^= 4;
          all.push_back(blob.substr(0, blob.size() - back));
        }
      }
      for (const std::string& each : all) {
        const std::string said = gzipByZlib(each);
        verdicts.insert(said);
        CHECK(gzipByUs(each, SIZE_MAX) == said);
        CHECK(gzipByUs(each, 1) == said);
      }
    }
  }
  for (const char* said : {"whole", "cut", "incorrect header check", "unknown compression method",
                           "unknown header flags set", "header crc mismatch", "incorrect data check",
                           "incorrect length check"}) {
    CHECK(verdicts.count(said) == 1);
  }
}

TEST(combinedCrc, "checksums of two parts combine to that of the whole") {
  Random random(6);
  for (int round = 0; round < 500; ++round) {
    const std::string bytes = mixture(1 + random() % 3000, static_cast<uint32_t>(round));
    const size_t cut = random() % (bytes.size() + 1);
    const auto crc = [&bytes](size_t from, size_t to) {
      return static_cast<uint32_t>(crc32_z(0, bytesOf(bytes) + from, to - from));
    };
    CHECK_EQUAL(combineCrc(crc(0, cut), crc(cut, bytes.size()), bytes.size() - cut), crc(0, bytes.size()));
  }
}
