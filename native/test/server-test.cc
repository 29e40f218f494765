// The Server against a played kernel and a played JavaScript: how it begins, interrupts, changes.
#include <errno.h>
#include <fcntl.h>

#include "check.h"
#include "fake-kernel.h"

using namespace imgfs::fuse;

namespace {

constexpr uint32_t kFile = 0100644;

}  // namespace

TEST(oldKernel, "a kernel older than 5.4 is refused and told to JavaScript") {
  FakeChannel channel;
  JobQueue jobs;
  Server server({}, channel, jobs);
  Scratch scratch;
  std::string bytes = requestBytes(kInit, 1, 0, initArguments(30));
  server.handle(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), scratch);
  Reply reply;
  CHECK(channel.take(1, reply) && reply.error == EPROTO && !server.ready());
  std::vector<Job> taken;
  jobs.take(taken, 1, 1000);
  CHECK(taken.size() == 1 && taken[0].kind == kJobClosed);
}

TEST(interrupted, "an interrupt of nobody's request is asked for again; one of a harmless signal is ignored") {
  Rig rig;
  rig.send(kInterrupt, 0, raw(InterruptIn{12345}));
  CHECK_EQUAL(rig.reply().error, EAGAIN);
  uint64_t waiting = rig.send(kLookup, kRootNode, text("a"));
  Job job = rig.job();
  rig.send(kInterrupt, 0, raw(InterruptIn{waiting}));
  CHECK(!rig.answered(waiting));  // this process has no signal pending
  CHECK_EQUAL(rig.server.counter(kInterruptsIgnored), 1);
  CHECK(rig.server.replyError(job.id, ENOENT));
  CHECK_EQUAL(rig.reply(waiting).error, ENOENT);
}

TEST(notWritable, "changes are EROFS without asking, and asked for when they are allowed") {
  Rig readOnly;
  readOnly.send(kMkdir, kRootNode, raw(MkdirIn{0755, 0}) + text("a"));
  CHECK_EQUAL(readOnly.reply().error, EROFS);
  ServerConfig config;
  config.writable = true;
  Rig rig(config);
  rig.send(kRename2, kRootNode, raw(Rename2In{9, 1, 0}) + text("old") + text("new-name"));
  Job job = rig.job();
  CHECK(job.kind == kRename2 && job.a == 9 && job.b == 1 && job.c == 3 && job.name == "oldnew-name");
  rig.server.replyError(job.id, 0);
  CHECK_EQUAL(rig.reply().error, 0);
  rig.send(kCreate, kRootNode, raw(CreateIn{O_RDWR, 0100644, 0, 0}) + text("f"));
  CHECK(rig.server.replyCreate(rig.job().id, unpacked(packEntry(8, kFile, 0)), OpenAnswer{}) == Delivery::kDelivered);
  std::string body = rig.reply().body;
  CHECK_EQUAL(body.size(), sizeof(EntryOut) + sizeof(OpenOut));
  OpenOut out;
  std::memcpy(&out, body.data() + sizeof(EntryOut), sizeof(out));
  CHECK((out.openFlags & kOpenNoFlush) == 0);
  WriteIn in{};
  in.fh = out.fh;
  in.size = 5;
  rig.send(kWrite, 8, raw(in) + "bytes");
  Job write = rig.job();
  uint8_t data[10];
  CHECK_EQUAL(rig.server.takePayload(write.id, data, sizeof(data)), 5);
  CHECK(std::memcmp(data, "bytes", 5) == 0 && rig.server.takePayload(write.id, data, sizeof(data)) == 0);
  rig.server.replyCount(write.id, 5);
  CHECK_EQUAL(rig.body<WriteOut>().size, 5u);
  in.size = 6;
  rig.send(kWrite, 8, raw(in) + "bytes");
  CHECK_EQUAL(rig.reply().error, EBADF);
}
