// Files that lie in a shared one: opened and read without JavaScript, which takes parts of it back.
#include <errno.h>
#include <fcntl.h>

#include "check.h"
#include "fake-kernel.h"

using namespace imgfs::fuse;

namespace {

constexpr uint32_t kFile = 0100644, kSymbolicLink = 0120777;
constexpr uint64_t kSize = 40 << 20, kBase = 10000;

// A layer of 40 MiB, mostly holes, and an inode of 20,000 bytes at 10,000.
struct Ground {
  explicit Ground(std::vector<Range> present = {{0, kSize}}) {
    ftruncate(fd, static_cast<off_t>(kSize));
    CHECK(rig.server.putFile(1, fd, kSize, present));
    learn(7, kBase, 20000);
  }
  ~Ground() { close(fd); }

  // LOOKUP answered by JavaScript, which says where the file lies.
  void learn(uint64_t ino, uint64_t offset, uint64_t size, uint32_t file = 1) {
    std::string entry = packEntry(ino, kFile, size);
    double at = static_cast<double>(offset);
    std::memcpy(entry.data() + 100, &file, sizeof(file));
    std::memcpy(entry.data() + 104, &at, sizeof(at));
    rig.send(kLookup, kRootNode, text("a"));
    Job job = rig.job();
    while (job.kind != kLookup) job = rig.job();  // lookups that were given back
    rig.server.replyEntry(job.id, unpacked(entry));
    rig.reply();
  }

  OpenOut open(uint64_t ino = 7) {
    rig.send(kOpen, ino, raw(OpenIn{O_RDONLY, 0}));
    return rig.body<OpenOut>();
  }
  void release(uint64_t fh, uint64_t ino = 7) { rig.close(ino, fh); }
  uint64_t read(uint64_t fh, uint64_t offset, uint32_t size, uint64_t ino = 7) {
    return rig.send(kRead, ino, raw(readIn(fh, offset, size)));
  }
  void expectBytes(uint64_t unique, uint64_t offset, size_t length) {
    Reply reply = rig.reply(unique);
    CHECK_EQUAL(reply.error, 0);
    CHECK_EQUAL(reply.body.size(), length);
    for (size_t i : {size_t{0}, length - 1})
      CHECK_EQUAL(static_cast<uint8_t>(reply.body[i]), patternAt(kBase + offset + i));
  }
  OpenAnswer answer(std::vector<Range> present = {}) {
    OpenAnswer out;
    out.script = 5;
    out.keepCache = true;
    out.fd = fd;
    out.base = kBase;
    out.file = 1;
    out.present = std::move(present);
    return out;
  }
  bool mayGo(Range range, bool forced = false) { return rig.server.takeBack(1, {range}, forced)[0]; }

  int fd = memoryFile(50000, true);
  Rig rig;
};

}  // namespace

TEST(sharedOpens, "a file that lies in a shared one is opened and read without JavaScript") {
  Ground ground;
  Rig& rig = ground.rig;
  OpenOut out = ground.open();
  CHECK((out.openFlags & kOpenKeepCache) != 0 && (out.openFlags & kOpenNoFlush) != 0);
  ground.expectBytes(ground.read(out.fh, 100, 4096), 100, 4096);
  ground.expectBytes(ground.read(out.fh, 19000, 4096), 19000, 1000);
  ground.release(out.fh);
  CHECK_EQUAL(rig.job().kind, 0u);
  // Who wants to write is for JavaScript to refuse.
  for (uint32_t flags : {O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC}) {
    rig.send(kOpen, 7, raw(OpenIn{flags, 0}));
    CHECK_EQUAL(rig.job().kind, static_cast<uint32_t>(kOpen));
  }
  rig.server.dropFile(1);
  rig.send(kOpen, 7, raw(OpenIn{O_RDONLY, 0}));
  CHECK_EQUAL(rig.job().kind, static_cast<uint32_t>(kOpen));
}

TEST(sharedOutside, "a place beyond the shared file is not believed") {
  Ground ground;
  ground.learn(8, kSize - 100, 101);
  ground.learn(9, 1ull << 53, 1ull << 53);
  ground.learn(10, 0, 10, 2);  // a file that nobody knows
  for (uint64_t ino : {8, 9, 10}) {
    ground.rig.send(kOpen, ino, raw(OpenIn{O_RDONLY, 0}));
    CHECK_EQUAL(ground.rig.job().kind, static_cast<uint32_t>(kOpen));
  }
}

TEST(sharedPages, "a small file's pages go along with its first open, when nobody else has it open") {
  Ground ground;
  auto stored = [&] { return ground.rig.server.counter(kStoredFiles); };
  Reply pages;
  OpenOut first = ground.open();
  CHECK_EQUAL(stored(), 1);
  CHECK(ground.rig.channel.take(0, pages));
  StoreOut body;
  CHECK_EQUAL(pages.error, -kNotifyStore);
  CHECK_EQUAL(pages.body.size(), sizeof(body) + 20000);
  std::memcpy(&body, pages.body.data(), sizeof(body));
  CHECK(body.nodeid == 7 && body.offset == 0 && body.size == 20000);
  CHECK_EQUAL(static_cast<uint8_t>(pages.body[sizeof(body) + 77]), patternAt(kBase + 77));
  OpenOut second = ground.open();
  ground.release(first.fh);
  ground.release(second.fh);
  ground.release(ground.open().fh);
  CHECK_EQUAL(stored(), 1);
  // The kernel forgot it, and its pages with it; while another handle lives, a read may hold them locked.
  ground.rig.send(kForget, 7, raw(ForgetIn{1}));
  ground.learn(7, kBase, 20000);
  ground.open();
  CHECK_EQUAL(stored(), 2);
  // Large ones are read as they are wanted.
  ground.learn(8, 50000, 200000);
  ground.open(8);
  CHECK_EQUAL(stored(), 2);
}

TEST(sharedMissing, "reads of what is missing wait for one handle of JavaScript, then for one fill") {
  Ground ground({{0, kBase + 4096}});
  Rig& rig = ground.rig;
  OpenOut out = ground.open();
  CHECK_EQUAL(rig.job().kind, 0u);  // what is missing is asked for when it is read
  ground.expectBytes(ground.read(out.fh, 0, 4096), 0, 4096);
  uint64_t one = ground.read(out.fh, 4096, 4096), two = ground.read(out.fh, 8192, 4096);
  Job reopen = rig.job();
  CHECK(reopen.kind == kJobReopen && reopen.id == out.fh && reopen.nodeid == 7);
  CHECK(rig.job().kind == 0 && !rig.answered(one) && !rig.answered(two));
  CHECK(rig.server.replyReopen(out.fh, ground.answer({{8192, 12288}})) == Delivery::kDelivered);
  Job fill = rig.job();
  CHECK(fill.kind == kJobFill && fill.a == 5 && fill.b == 4096 && fill.c == 8192);
  CHECK(rig.parkedReady && rig.server.answerParked(rig.scratch));
  ground.expectBytes(two, 8192, 4096);
  rig.server.fillDone(fill.id, 0, false, false, {});
  rig.server.answerParked(rig.scratch);
  ground.expectBytes(one, 4096, 4096);
  // What is added to the shared file is there for all.
  rig.server.addRanges(1, {{kBase + 12288, kBase + 20000}});
  ground.expectBytes(ground.read(out.fh, 12288, 4096), 12288, 4096);
  ground.release(out.fh);
  Job release = rig.job();
  CHECK(release.kind == kRelease && release.a == 5);
}

TEST(sharedNoHandle, "a handle that cannot be had is an errno for who waits, and is undone when nobody does") {
  Ground ground(std::vector<Range>{});
  Rig& rig = ground.rig;
  OpenOut out = ground.open();
  uint64_t one = ground.read(out.fh, 0, 4096);
  CHECK_EQUAL(rig.job().kind, kJobReopen);
  rig.server.reopenFailed(out.fh, ESTALE);
  CHECK_EQUAL(rig.reply(one).error, ESTALE);
  ground.read(out.fh, 0, 4096);
  CHECK_EQUAL(rig.job().kind, kJobReopen);
  ground.release(out.fh);
  CHECK(rig.server.replyReopen(out.fh, ground.answer()) == Delivery::kGone);
  // What JavaScript serves alone is read there.
  out = ground.open();
  uint64_t two = ground.read(out.fh, 4096, 4096);
  CHECK_EQUAL(rig.job().kind, kJobReopen);
  OpenAnswer alone = ground.answer();
  alone.fd = -1;
  CHECK(rig.server.replyReopen(out.fh, alone) == Delivery::kDelivered);
  Job read = rig.job();
  CHECK(read.kind == kRead && read.a == 5 && read.b == 4096 && read.c == 4096);
  rig.server.replyBytes(read.id, reinterpret_cast<const uint8_t*>("abc"), 3);
  CHECK(rig.reply(two).body == std::string("abc"));
}

TEST(sharedTakenBack, "what somebody has open may not go, however it was opened; what went is not read") {
  Ground ground;
  Rig& rig = ground.rig;
  OpenOut out = ground.open();
  CHECK(!ground.mayGo({kBase + 5000, kBase + 5001}));
  CHECK(!ground.mayGo({0, kBase + 1}));
  CHECK(ground.mayGo({0, kBase}) && ground.mayGo({kBase + 20000, kSize}));
  ground.expectBytes(ground.read(out.fh, 0, 20000), 0, 20000);
  ground.release(out.fh);
  // One of JavaScript's that was adopted, because all of it is there: no handle of JavaScript holds it.
  rig.send(kOpen, 7, raw(OpenIn{O_RDWR, 0}));
  rig.server.replyError(rig.job().id, EROFS);
  rig.server.dropFile(1);
  CHECK(rig.server.putFile(2, ground.fd, kSize, {{0, kSize}}));
  uint64_t unique = rig.send(kOpen, 7, raw(OpenIn{O_RDONLY, 0}));
  OpenAnswer whole = ground.answer();
  whole.complete = true;
  whole.file = 2;
  CHECK(rig.server.replyOpen(rig.job().id, whole) == Delivery::kAdopted);
  uint64_t fh = rig.body<OpenOut>(unique).fh;
  CHECK(!rig.server.takeBack(2, {{kBase, kBase + 10}}, false)[0]);
  ground.release(fh);
  std::vector<bool> both = rig.server.takeBack(2, {{kBase, kBase + 8192}, {5, 5}}, false);
  CHECK(both.size() == 2 && both[0] && both[1]);
  // Opened again without JavaScript, it is asked for what went, and only for that.
  out = ground.open();
  ground.expectBytes(ground.read(out.fh, 8192, 4096), 8192, 4096);
  CHECK_EQUAL(rig.job().kind, 0u);
  ground.read(out.fh, 4096, 4096);
  CHECK_EQUAL(rig.job().kind, kJobReopen);
}

TEST(sharedForgotten, "when nothing is believed any more, what is open keeps what it has, and who opens asks") {
  Ground ground;
  Rig& rig = ground.rig;
  OpenOut before = ground.open();
  CHECK(!ground.mayGo({0, kSize}, true));
  ground.expectBytes(ground.read(before.fh, 0, 20000), 0, 20000);
  ground.learn(8, 50000, 20000);
  OpenOut after = ground.open(8);
  ground.read(after.fh, 0, 4096, 8);
  CHECK_EQUAL(rig.job().kind, kJobReopen);
  ground.release(before.fh);
  ground.mayGo({0, kSize}, true);
  ground.read(ground.open().fh, 0, 4096);
  CHECK_EQUAL(rig.job().kind, kJobReopen);
}

TEST(sharedPassed, "who opens files near missing bytes is told to JavaScript, who is far from them is not") {
  Ground ground({{0, 20 << 20}});
  ground.learn(8, 19 << 20, 1000);
  ground.learn(9, 21 << 20, 1000);
  ground.open();
  CHECK_EQUAL(ground.rig.job().kind, 0u);
  ground.open(8);
  Job job = ground.rig.job();
  CHECK(job.kind == kJobPassed && job.nodeid == 8);
  ground.open(9);
  CHECK_EQUAL(ground.rig.job().kind, 0u);  // its first read will
}

TEST(sharedWhole, "one that is the whole of the shared file passes through and stays") {
  Ground ground;
  ground.learn(8, 0, kSize);
  OpenOut out = ground.open(8);
  CHECK((out.openFlags & kOpenPassthrough) != 0 && out.backingId > 0);
  CHECK(!ground.mayGo({kSize - 1, kSize}));
  ground.release(out.fh, 8);
  CHECK_EQUAL(ground.rig.channel.openBackings(), 0);
  CHECK(ground.mayGo({kSize - 1, kSize}));
  CHECK((ground.open(8).openFlags & kOpenPassthrough) == 0);
}

TEST(sharedCut, "a shared file that was cut is read through JavaScript") {
  Ground ground;
  Rig& rig = ground.rig;
  rig.uid = 1000;
  OpenOut out = ground.open();
  CHECK_EQUAL(ftruncate(ground.fd, 500), 0);
  uint64_t one = ground.read(out.fh, 0, 4096);
  Job reopen = rig.job();
  CHECK(reopen.kind == kJobReopen && reopen.uid == 1000);
  OpenAnswer whole = ground.answer();
  whole.complete = true;
  CHECK(rig.server.replyReopen(out.fh, whole) == Delivery::kDelivered);
  Job read = rig.job();
  CHECK(read.kind == kRead && read.a == 5 && read.uid == 1000 && read.pid == static_cast<uint32_t>(getpid()));
  rig.server.replyBytes(read.id, reinterpret_cast<const uint8_t*>("right"), 5);
  CHECK(rig.reply(one).body == std::string("right"));
}

TEST(linkTargets, "the target of a link comes with its entry") {
  Rig rig;
  std::string entry = packEntry(7, kSymbolicLink, 6, "link");
  uint32_t length = 6;
  std::memcpy(entry.data() + 100, &length, sizeof(length));
  CHECK_EQUAL(entry.size(), kPackedEntrySize + 8);
  size_t at = 0;
  PackedEntry unread;
  CHECK(!unpackEntry(reinterpret_cast<const uint8_t*>(entry.data()), entry.size(), at, unread));
  entry += std::string("target\0\0", 8);
  rig.send(kLookup, kRootNode, text("link"));
  rig.server.replyEntry(rig.job().id, unpacked(entry));
  rig.reply();
  rig.send(kReadlink, 7, "");
  CHECK(rig.reply().body == std::string("target"));
  CHECK_EQUAL(rig.job().kind, 0u);
}
