// Receiving from a connection into a file, without Node.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <chrono>
#include <string>
#include <thread>

#include "../src/receive/receiver.h"
#include "check.h"
#include "memory-file.h"

using namespace imgfs;
using Outcome = Receiver::Outcome;

namespace {

std::string sample(size_t length) {
  std::string bytes(length, '\0');
  uint32_t state = 7;
  for (char& byte : bytes) byte = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return bytes;
}

std::string hexOf(const std::string& bytes) {
  BlobHash hash(BlobHash::Algorithm::sha256);
  hash.update(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  return hash.finish();
}

// Both ends of a connection; ours does not block, as those of libuv.
struct Line {
  Line() {
    int ends[2];
    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    ours = ends[0];
    theirs = ends[1];
    CHECK_EQUAL(fcntl(ours, F_SETFL, O_NONBLOCK), 0);
  }
  ~Line() {
    close(ours);
    hangUp();
  }
  // Returns what was taken: less when the other end is gone.
  size_t send(const std::string& bytes, size_t piece = 1 << 20) {
    for (size_t at = 0; at < bytes.size();) {
      const ssize_t put = ::send(theirs, bytes.data() + at, std::min(piece, bytes.size() - at), MSG_NOSIGNAL);
      if (put <= 0) return at;
      at += static_cast<size_t>(put);
    }
    return bytes.size();
  }
  void hangUp() {
    if (theirs >= 0) close(theirs);
    theirs = -1;
  }
  int ours = -1;
  int theirs = -1;
};

ReceiveOrder order(const Line& line, int file, uint64_t length) {
  ReceiveOrder order;
  order.socket = line.ours;
  order.file = file;
  order.length = length;
  order.digest = std::make_shared<RunningDigest>(BlobHash::Algorithm::sha256);
  return order;
}

const auto ignore = [] {};

}  // namespace

TEST(receivesAll, "receive: all bytes, what was read before included, and not one of what follows") {
  const std::string body = sample(5'000'001);
  for (const size_t prefix : {size_t{0}, size_t{100}, size_t{300'000}, body.size()}) {
    Line line;
    MemoryFile file(std::string(10, 'x'));
    ReceiveOrder what = order(line, file.fd(), body.size());
    what.offset = 10;
    what.digest->feed(reinterpret_cast<const uint8_t*>("xxxxxxxxxx"), 10);
    what.prefix.assign(body.begin(), body.begin() + static_cast<ptrdiff_t>(prefix));
    const auto digest = what.digest;
    std::thread sender([&] { line.send(body.substr(prefix) + "garbage", 70'000); });
    Receiver receiver(std::move(what));
    uint64_t told = 0;
    const Outcome outcome = receiver.run([&] {
      CHECK(receiver.written() > told);
      told = receiver.written();
    });
    sender.join();
    CHECK(outcome == Outcome::kDone);
    CHECK_EQUAL(receiver.written(), body.size());
    CHECK(file.bytes(body.size() + 100) == std::string(10, 'x') + body);
    CHECK_EQUAL(digest->position(), body.size() + 10);
    CHECK(digest->finish() == hexOf(std::string(10, 'x') + body));
    char rest[100];
    CHECK_EQUAL(recv(line.ours, rest, sizeof rest, 0), 7);
  }
}

TEST(receiveTells, "receive: readers of the file hear of it, but of the last piece") {
  const std::string body = sample(3'000'000);
  struct stat status {};
  std::vector<std::pair<FileProgress::Event, FileProgress::Range>> heard;
  Line line;
  MemoryFile file;
  CHECK_EQUAL(fstat(file.fd(), &status), 0);
  const uint64_t id = FileProgress::shared().listen([&](FileProgress::Event event, const FileProgress::Range& range) {
    CHECK(range.device == status.st_dev && range.inode == status.st_ino);
    heard.emplace_back(event, range);
    if (event == FileProgress::Event::kWritten) {
      const std::string there = file.bytes(range.end).substr(range.begin);
      CHECK(there == body.substr(range.begin - 5000, range.end - range.begin));
    }
  });
  ReceiveOrder what = order(line, file.fd(), body.size());
  what.offset = 5000;
  std::thread sender([&] { line.send(body); });
  Receiver receiver(std::move(what));
  CHECK(receiver.run(ignore) == Outcome::kDone);
  sender.join();
  FileProgress::shared().unlisten(id);
  const uint64_t end = 5000 + body.size();
  CHECK(heard.size() > 2);
  CHECK(heard.front().first == FileProgress::Event::kComing && heard.back().first == FileProgress::Event::kOver);
  for (const auto& whole : {heard.front().second, heard.back().second}) CHECK(whole.begin == 5000 && whole.end == end);
  uint64_t at = 5000;
  for (size_t i = 1; i + 1 < heard.size(); ++i) {
    CHECK(heard[i].first == FileProgress::Event::kWritten && heard[i].second.begin == at);
    at = heard[i].second.end;
  }
  CHECK(at > 5000 && at < end);
}

TEST(receivesDrip, "receive: a slow stream is told of soon, not when a piece is full") {
  Line line;
  MemoryFile file;
  Receiver receiver(order(line, file.fd(), 1000));
  std::atomic<uint64_t> told{0};
  std::thread thread([&] { CHECK(receiver.run([&] { told = receiver.written(); }) == Outcome::kDone); });
  line.send(sample(500));
  while (told != 500) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  line.send(sample(500));
  thread.join();
  CHECK_EQUAL(receiver.written(), 1000u);
}

TEST(receivesCut, "receive: a connection that ends too soon leaves what came") {
  const std::string body = sample(700'000);
  Line line;
  MemoryFile file;
  ReceiveOrder what = order(line, file.fd(), body.size() + 1);
  const auto digest = what.digest;
  std::thread sender([&] {
    line.send(body);
    line.hangUp();
  });
  Receiver receiver(std::move(what));
  CHECK(receiver.run(ignore) == Outcome::kCut);
  sender.join();
  CHECK_EQUAL(receiver.written(), body.size());
  CHECK(file.bytes(body.size() + 1) == body);
  CHECK_EQUAL(digest->position(), body.size());
}

TEST(receiveAborts, "receive: ends when it is called off, before, while and after it waits") {
  for (const int waitMs : {0, 1, 20}) {
    Line line;
    MemoryFile file;
    Receiver receiver(order(line, file.fd(), 1'000'000));
    std::thread thread([&] { CHECK(receiver.run(ignore) == Outcome::kAborted); });
    line.send(sample(1000));
    std::this_thread::sleep_for(std::chrono::milliseconds(waitMs));
    receiver.abort();
    thread.join();
    receiver.abort();
    CHECK(receiver.written() <= 1000);
  }
}

TEST(receiveFull, "receive: what a file does not take is given back") {
  const std::string body = sample(600'000);
  for (const size_t prefix : {size_t{0}, size_t{400'000}}) {
    Line line;
    const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    CHECK(full >= 0);
    ReceiveOrder what = order(line, full, body.size());
    what.prefix.assign(body.begin(), body.begin() + static_cast<ptrdiff_t>(prefix));
    const auto digest = what.digest;
    std::thread sender([&] { line.send(body.substr(prefix)); });
    Receiver receiver(std::move(what));
    CHECK(receiver.run(ignore) == Outcome::kNotWritten);
    close(full);
    CHECK_EQUAL(receiver.error(), ENOSPC);
    CHECK_EQUAL(receiver.written(), 0u);
    CHECK_EQUAL(digest->position(), 0u);
    // What was taken off the line and what is still on it are the body.
    const std::vector<uint8_t> leftover = receiver.takeLeftover();
    std::string all(leftover.begin(), leftover.end());
    CHECK(all.size() >= prefix && !all.empty());
    while (all.size() < body.size()) {
      char more[65536];
      const ssize_t got = recv(line.ours, more, sizeof more, 0);
      if (got > 0) all.append(more, static_cast<size_t>(got));
    }
    sender.join();
    CHECK(all == body);
  }
  Line line;
  ReceiveOrder what = order(line, -1, 10);
  what.prefix.assign(3, 'x');
  Receiver receiver(std::move(what));
  CHECK(receiver.run(ignore) == Outcome::kNotWritten);
  CHECK_EQUAL(receiver.error(), EBADF);
  CHECK_EQUAL(receiver.takeLeftover().size(), 3u);
}

TEST(digestFollows, "receive: two windows at once, and a digest that reads what came out of order") {
  const std::string body = sample(8 << 20);
  const size_t half = body.size() / 2;
  Line first, second;
  MemoryFile file;
  const auto digest = std::make_shared<RunningDigest>(BlobHash::Algorithm::sha256);
  ReceiveOrder head = order(first, file.fd(), half), tail = order(second, file.fd(), half);
  head.digest = tail.digest = digest;
  tail.offset = half;
  Receiver headReceiver(std::move(head)), tailReceiver(std::move(tail));
  std::thread threads[] = {
      std::thread([&] { CHECK(tailReceiver.run(ignore) == Outcome::kDone); }),
      std::thread([&] { second.send(body.substr(half)); }),
      std::thread([&] { CHECK(headReceiver.run(ignore) == Outcome::kDone); }),
      std::thread([&] { first.send(body.substr(0, half)); }),
      std::thread([&] {
        while (digest->position() < half) CHECK_EQUAL(digest->advance(file.fd(), headReceiver.written()), 0);
      }),
  };
  for (std::thread& thread : threads) thread.join();
  CHECK_EQUAL(digest->advance(file.fd(), body.size()), 0);
  CHECK_EQUAL(digest->position(), body.size());
  CHECK_EQUAL(digest->advance(file.fd(), body.size() + 10), 0);
  CHECK_EQUAL(digest->position(), body.size());
  CHECK_EQUAL(digest->advance(-1, body.size() + 10), EBADF);
  CHECK(!digest->offer(half, nullptr, 1));
  CHECK(digest->finish() == hexOf(body));
}
