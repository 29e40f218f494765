// Reading: from files, whole, in parts and while they are received; and asking for what is missing.
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "fake-kernel.h"

using namespace imgfs::fuse;

namespace {

constexpr uint32_t kFile = 0100644;

}  // namespace

TEST(parkedReads, "reads of what is missing wait for one fill and are answered from the file") {
  Rig rig;
  rig.lookup("a", 7, kFile, 100000);
  int fd = memoryFile(150000);
  OpenAnswer answer = cachedAnswer(5);
  answer.fd = fd;
  answer.base = 1000;
  answer.present = {{0, 4096}};
  uint64_t fh = rig.open(7, answer);
  rig.send(kRead, 7, raw(readIn(fh, 0, 4096)));
  CHECK_EQUAL(rig.reply().body.size(), 4096);
  uint64_t one = rig.send(kRead, 7, raw(readIn(fh, 4096, 8192)));
  uint64_t two = rig.send(kRead, 7, raw(readIn(fh, 8192, 8192)));
  uint64_t tail = rig.send(kRead, 7, raw(readIn(fh, 99000, 4096)));
  Job a = rig.job(), b = rig.job(), c = rig.job();
  CHECK(a.kind == kJobFill && a.a == 5 && a.b == 4096 && a.c == 12288);
  CHECK(b.kind == kJobFill && b.b == 12288 && b.c == 16384);
  CHECK(c.kind == kJobFill && c.b == 99000 && c.c == 100000);
  CHECK(rig.job().kind == 0 && !rig.answered(one));
  rig.server.fillDone(a.id, 0, false, false, {});
  CHECK(rig.parkedReady && rig.server.answerParked(rig.scratch));
  Reply reply = rig.reply(one);
  CHECK(reply.body.size() == 8192);
  CHECK_EQUAL(static_cast<uint8_t>(reply.body[0]), static_cast<uint8_t>(5096 * 31 + (5096 >> 8)));
  CHECK(!rig.answered(two));
  rig.server.fillDone(b.id, 0, false, false, {{12288, 16384}});
  rig.server.answerParked(rig.scratch);
  CHECK_EQUAL(rig.reply(two).body.size(), 8192);
  rig.server.fillDone(c.id, ETIMEDOUT, false, false, {});
  CHECK_EQUAL(rig.reply(tail).error, ETIMEDOUT);
  // Asked again, it cannot be kept: the bytes come through JavaScript.
  rig.send(kRead, 7, raw(readIn(fh, 99000, 4096)));
  Job again = rig.job();
  rig.server.fillDone(again.id, 0, true, false, {});
  Job read = rig.job();
  CHECK(read.kind == kRead && read.a == 5 && read.b == 99000);
  uint8_t bytes[1000] = {1, 2, 3};
  CHECK(rig.server.replyBytes(read.id, bytes, sizeof(bytes)));
  CHECK_EQUAL(rig.reply().body.size(), 1000);
  CHECK_EQUAL(rig.server.gauges().pending, 0);
  close(fd);
}

TEST(received, "reads of what is being received are answered as it comes, and JavaScript is asked for what did not come") {
  Rig rig;
  const uint64_t mib = 1 << 20, size = 16 * mib, base = 1000;
  rig.lookup("a", 7, kFile, size);
  int fd = memoryFile(size + base);
  struct stat status {};
  CHECK_EQUAL(fstat(fd, &status), 0);
  OpenAnswer answer;
  answer.script = 5;
  answer.fd = fd;
  answer.base = base;
  uint64_t fh = rig.open(7, answer);
  const auto at = [&](uint64_t begin, uint64_t end) { return Range{base + begin, base + end}; };
  rig.server.fileComing(status.st_dev, status.st_ino, at(0, 8 * mib));
  uint64_t one = rig.send(kRead, 7, raw(readIn(fh, 0, 4096)));
  uint64_t two = rig.send(kRead, 7, raw(readIn(fh, mib, 4096)));
  CHECK_EQUAL(rig.job().kind, 0u);
  rig.server.filePresent(status.st_dev, status.st_ino + 1, at(0, 8 * mib));
  CHECK(!rig.parkedReady);
  rig.server.filePresent(status.st_dev, status.st_ino, at(0, 4095));
  CHECK(!rig.parkedReady);
  rig.server.filePresent(status.st_dev, status.st_ino, at(4095, 8192));
  CHECK(rig.parkedReady && rig.server.answerParked(rig.scratch));
  CHECK_EQUAL(static_cast<uint8_t>(rig.reply(one).body[0]), patternAt(base));
  CHECK(!rig.answered(two));
  // Now and then JavaScript hears how far the reader is.
  uint64_t far = rig.send(kRead, 7, raw(readIn(fh, 5 * mib, 4096)));
  Job asked = rig.job();
  CHECK(asked.kind == kJobFill && asked.a == 5 && asked.b == 5 * mib);
  rig.server.filePresent(status.st_dev, status.st_ino, at(mib, 7 * mib));
  CHECK(rig.server.answerParked(rig.scratch));
  CHECK_EQUAL(rig.reply(two).body.size(), 4096);
  CHECK_EQUAL(rig.reply(far).body.size(), 4096);
  rig.server.fillDone(asked.id, 0, false, false, {});
  // It broke off.
  uint64_t lost = rig.send(kRead, 7, raw(readIn(fh, 7 * mib, 4096)));
  CHECK_EQUAL(rig.job().kind, 0u);
  rig.server.fileOver(status.st_dev, status.st_ino, at(0, 8 * mib));
  Job again = rig.job();
  CHECK(again.kind == kJobFill && again.b == 7 * mib && again.c == 7 * mib + 4096);
  rig.server.fillDone(again.id, EIO, false, false, {});
  CHECK_EQUAL(rig.reply(lost).error, EIO);
  rig.send(kRead, 7, raw(readIn(fh, 9 * mib, 4096)));
  CHECK_EQUAL(rig.job().b, 9 * mib);
  close(fd);
}

TEST(toldOfReader, "JavaScript hears of a reader that goes on through what is there, not of one that jumps") {
  Rig rig;
  const uint64_t mib = 1 << 20, size = 64 * mib;
  rig.lookup("a", 7, kFile, size + 1);
  int fd = memoryFile(size);
  OpenAnswer answer;
  answer.script = 5;
  answer.fd = fd;
  answer.present = {{0, size}};
  uint64_t fh = rig.open(7, answer);
  const auto read = [&](uint64_t offset) {
    rig.send(kRead, 7, raw(readIn(fh, offset, 131072)));
    CHECK_EQUAL(rig.reply().body.size(), 131072u);
  };
  for (uint64_t offset : {20 * mib, mib, 50 * mib, 9 * mib, 30 * mib, uint64_t{0}}) read(offset);
  CHECK_EQUAL(rig.job().kind, 0u);
  std::vector<Job> told;
  // In whatever order a kernel that reads ahead sends them.
  for (uint64_t offset = 0; offset < 16 * mib; offset += 262144) {
    read(offset + 131072);
    read(offset);
    Job job = rig.job();
    if (job.kind == 0) continue;
    CHECK(job.kind == kJobFill && job.a == 5);
    rig.server.fillDone(job.id, 0, false, false, {});
    told.push_back(job);
  }
  CHECK(told.size() == 3 || told.size() == 4);
  close(fd);
}

TEST(damagedFile, "a file that is shorter than it should be is not trusted") {
  Rig rig;
  rig.lookup("a", 7, kFile, 100000);
  int fd = memoryFile(50000);
  OpenAnswer answer = cachedAnswer(5);
  answer.fd = fd;
  answer.present = {{0, 100000}};
  uint64_t fh = rig.open(7, answer);
  rig.send(kRead, 7, raw(readIn(fh, 40000, 20000)));
  Job read = rig.job();
  CHECK(read.kind == kRead && read.b == 40000 && read.c == 20000 && !rig.answered());
  close(fd);
}

TEST(mappedReads, "large reads of what is in memory are answered out of a mapping, at any offset") {
  Rig rig;
  size_t size = 5000000, base = 1000;
  rig.lookup("a", 7, kFile, size - base);
  int fd = memoryFile(size, true);
  OpenAnswer answer = cachedAnswer(5);
  answer.fd = fd;
  answer.base = base;
  answer.present = {{0, size - base}};
  uint64_t fh = rig.open(7, answer);
  bool waited = false;
  rig.scratch.beforeWaiting = [&] { waited = true; };
  for (uint64_t at : {0, 131072, 2000000, 2097152 - 4096, 3900000, 4868928, 10}) {
    rig.send(kRead, 7, raw(readIn(fh, at, 131072)));
    Reply reply = rig.reply();
    CHECK_EQUAL(reply.body.size(), std::min<size_t>(131072, size - base - at));
    for (size_t i : {size_t{0}, size_t{5000}, reply.body.size() - 1})
      CHECK_EQUAL(static_cast<uint8_t>(reply.body[i]), patternAt(base + at + i));
  }
  // tmpfs and file systems that cannot tell what is in memory are read by pread.
  CHECK(rig.scratch.window.isMapped() || waited);
  // Cut: nothing behind the end is read, and JavaScript is asked.
  CHECK(ftruncate(fd, 4000000) == 0);
  rig.send(kRead, 7, raw(readIn(fh, 3950000, 131072)));
  CHECK(rig.job().kind == kRead && !rig.answered());
  rig.scratch.window.drop();
  CHECK(!rig.scratch.window.isMapped());
  close(fd);
}

TEST(segments, "a file of segments is read across their borders, and asked for where nothing was told") {
  Rig rig;
  rig.lookup("a", 7, kFile, 300000);
  int fd = memoryFile(200000);
  OpenAnswer answer = cachedAnswer(5);
  answer.segmented = true;
  uint64_t fh = rig.open(7, answer);
  uint64_t first = rig.send(kRead, 7, raw(readIn(fh, 0, 131072)));
  Job fill = rig.job();
  CHECK(fill.kind == kJobFill && fill.a == 5 && fill.b == 0 && fill.c == 131072);
  std::string literals(1024, 'h');
  // A header, a file from its offset 100 on, and what was told before once more with a header behind.
  CHECK(rig.server.addSegments(fill.id, {{{0, 512}, -1, 0}, {{512, 150512}, fd, 100}}, literals));
  CHECK(rig.server.addSegments(fill.id, {{{512, 150512}, fd, 100}, {{150512, 151024}, -1, 512}}, literals));
  close(fd);  // the driver has its own
  rig.server.fillDone(fill.id, 0, false, false, {});
  CHECK(rig.server.answerParked(rig.scratch));
  Reply reply = rig.reply(first);
  CHECK_EQUAL(reply.body.size(), 131072);
  CHECK(reply.body[511] == 'h');
  for (size_t i : {size_t{512}, size_t{513}, size_t{131071}})
    CHECK_EQUAL(static_cast<uint8_t>(reply.body[i]), patternAt(i - 512 + 100));
  // At once, also across a border; not where nothing is known, until JavaScript has read it.
  rig.send(kRead, 7, raw(readIn(fh, 150000, 1024)));
  reply = rig.reply();
  CHECK(reply.body.size() == 1024 && reply.body[512] == 'h' && reply.body[1023] == 'h');
  CHECK_EQUAL(static_cast<uint8_t>(reply.body[511]), patternAt(149999 + 100));
  rig.send(kRead, 7, raw(readIn(fh, 151000, 1024)));
  fill = rig.job();
  CHECK(fill.kind == kJobFill && fill.b == 151024 && fill.c == 152024);
  // Segments that are none are not taken, and those of nobody's fill neither.
  CHECK(!rig.server.addSegments(fill.id, {{{151024, 400000}, -1, 0}}, literals));
  CHECK(!rig.server.addSegments(fill.id, {{{151024, 152024}, -1, 100}}, literals));
  CHECK(!rig.server.addSegments(fill.id, {{{152024, 151024}, -1, 0}}, literals));
  CHECK(!rig.server.addSegments(fill.id, {{{151024, 152024}, 9999, 0}}, literals));
  CHECK(!rig.server.addSegments(fill.id + 1, {{{151024, 151025}, -1, 0}}, literals));
  rig.server.fillDone(fill.id, 0, true, false, {});
  Job read = rig.job();
  CHECK(read.kind == kRead && read.a == 5 && read.b == 151000 && read.c == 1024);
  uint8_t bytes[1024] = {7};
  CHECK(rig.server.replyBytes(read.id, bytes, sizeof(bytes)));
  CHECK_EQUAL(rig.reply().body.size(), 1024);
  CHECK_EQUAL(rig.server.gauges().openFiles, 1);
  rig.close(7, fh);
  CHECK_EQUAL(rig.server.gauges().openFiles, 0);
  CHECK_EQUAL(rig.server.gauges().pending, 0);
}

TEST(calledOff, "a deadline ends the wait, and the fill that nobody waits for") {
  ServerConfig config;
  config.operationTimeout = 1;
  Rig rig(config);
  rig.lookup("a", 7, kFile, 100000);
  int fd = memoryFile(10);
  OpenAnswer answer;
  answer.script = 5;
  answer.fd = fd;
  uint64_t fh = rig.open(7, answer);
  rig.send(kRead, 7, raw(readIn(fh, 0, 4096)));
  Job fill = rig.job();
  usleep(5000);
  rig.server.tick();
  CHECK_EQUAL(rig.reply().error, ETIMEDOUT);
  Job abort = rig.job();
  CHECK(abort.kind == kJobAbort && abort.a == fill.id && abort.b == 1 && abort.c == ETIMEDOUT);
  rig.server.fillDone(fill.id, 0, false, true, {});
  CHECK_EQUAL(rig.server.counter(kTimeouts), 1);
  close(fd);
}

TEST(readByScript, "a read that JavaScript answers tells who reads, whichever way it came there") {
  Rig rig;
  rig.uid = 1000;
  rig.gid = 100;
  rig.lookup("a", 7, kFile, 100000);
  int fd = memoryFile(50000);
  auto expectRead = [&](uint64_t script, uint64_t offset) {
    Job read = rig.job();
    CHECK(read.kind == kRead && read.nodeid == 7 && read.a == script && read.b == offset && read.c == 4096);
    CHECK(read.uid == 1000 && read.gid == 100 && read.pid == static_cast<uint32_t>(getpid()));
    CHECK(rig.server.replyBytes(read.id, reinterpret_cast<const uint8_t*>("right"), 5));
    CHECK(rig.reply().body == std::string("right"));
  };
  OpenAnswer answer;
  answer.script = 4;
  uint64_t unbacked = rig.open(7, answer);
  rig.send(kRead, 7, raw(readIn(unbacked, 8192, 4096)));
  expectRead(4, 8192);
  answer.script = 5;
  answer.fd = fd;
  answer.present = {{0, 4096}, {60000, 100000}};
  uint64_t fh = rig.open(7, answer);
  // Behind the end of its file; what its fill cannot keep.
  rig.send(kRead, 7, raw(readIn(fh, 60000, 4096)));
  expectRead(5, 60000);
  rig.send(kRead, 7, raw(readIn(fh, 8192, 4096)));
  rig.server.fillDone(rig.job().id, 0, true, false, {});
  expectRead(5, 8192);
  CHECK_EQUAL(rig.server.counter(kToScript), 6);  // with LOOKUP and two times OPEN
  CHECK_EQUAL(rig.server.gauges().pending, 0);
  close(fd);
}
