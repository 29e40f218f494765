// Many threads on one Server, for ThreadSanitizer: kernel threads send, one thread plays JavaScript, one ticks.
#include <fcntl.h>

#include <random>
#include <thread>

#include "check.h"
#include "fake-kernel.h"

using namespace imgfs::fuse;

namespace {

constexpr int kSteps = 3000;

void playJavaScript(Server& server, JobQueue& jobs, int fd, std::atomic<bool>& stop) {
  std::vector<Job> batch;
  while (!stop.load()) {
    batch.clear();
    jobs.take(batch, 64, 65536);
    if (batch.empty()) std::this_thread::yield();
    for (const Job& job : batch) {
      OpenAnswer answer;
      answer.script = job.id;
      answer.keepCache = true;
      answer.complete = job.id % 3 == 0;
      answer.fd = fd;
      answer.file = job.id % 2;
      std::string page;
      // Half of the files lie in a shared one.
      auto entry = [](uint64_t ino, const std::string& name, uint64_t next) {
        std::string packed = packEntry(ino, 0100644, 4096, name, next);
        uint32_t file = ino % 2;
        std::memcpy(packed.data() + 100, &file, sizeof(file));
        return packed;
      };
      switch (job.kind) {
        case kLookup:
          server.replyEntry(job.id, unpacked(entry(100 + job.name.size() % 7, "", 0)));
          break;
        case kOpen: server.replyOpen(job.id, answer); break;
        case kOpendir: server.replyOpendir(job.id, job.id, true, true); break;
        case kReaddir:
          for (uint64_t i = 0; i < 20; ++i) page += entry(100 + i, "f" + std::to_string(i), i + 1);
          server.replyReaddir(job.id, reinterpret_cast<const uint8_t*>(page.data()), page.size(), true);
          break;
        case kJobReopen:
          if (job.id % 5 == 0) server.reopenFailed(job.id, 5);
          else server.replyReopen(job.id, answer);
          break;
        case kJobPassed: break;
        case kJobFill: server.fillDone(job.id, job.id % 5 == 0 ? 5 : 0, job.id % 7 == 0, job.id % 11 == 0, {}); break;
        case kForget:
        case kRelease:
        case kReleasedir:
        case kJobAbort: break;
        default: server.replyError(job.id, 2);
      }
    }
  }
}

}  // namespace

TEST(threads, "threads that do everything at once") {
  FakeChannel channel;
  JobQueue jobs;
  ServerConfig config;
  config.operationTimeout = 50;
  config.maxSealed = 4;
  config.maxListed = 30;
  Server server(config, channel, jobs);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> unique{1};
  int fd = memoryFile(4096);
  {
    Scratch scratch;
    std::string bytes = requestBytes(kInit, 1, 0, initArguments());
    server.handle(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), scratch);
  }
  std::thread script([&] { playJavaScript(server, jobs, fd, stop); });
  std::thread ticker([&] {
    Scratch scratch;
    for (uint64_t round = 0; !stop.load(); ++round) {
      if (round % 64 == 0) server.putFile(1, fd, 4096, {});
      server.addRanges(1, {{round % 4096, 4096}});
      server.takeBack(1, {{0, 2048}, {round % 4096, 4096}}, round % 8 == 0);
      if (round % 64 == 63) server.dropFile(1);
      server.answerParked(scratch);
      server.tick();
      server.gauges();
      server.expireEntry(2);
      server.expireAttributes(100);
    }
  });
  std::vector<std::thread> kernel;
  for (int t = 0; t < 3; ++t) {
    kernel.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      Scratch scratch;
      std::vector<uint64_t> files, directories;
      for (int step = 0; step < kSteps; ++step) {
        uint64_t id = ++unique;
        uint32_t opcode = 0;
        uint64_t node = 100 + random() % 7;
        std::string arguments;
        ReadIn in{};
        in.size = 2048;
        switch (random() % 9) {
          case 0: opcode = kLookup; node = 2; arguments = text("f" + std::to_string(random() % 30)); break;
          case 1: opcode = kForget; arguments = raw(ForgetIn{random() % 3}); break;
          case 2: opcode = kOpen; arguments = raw(OpenIn{}); break;
          case 3: opcode = kOpendir; node = 2; arguments = raw(OpenIn{}); break;
          case 4: opcode = kRead; in.fh = random() % (id + 1); in.offset = random() % 4096; arguments = raw(in); break;
          case 5: opcode = random() % 2 == 0 ? kReaddir : kReaddirplus; node = 2; in.fh = random() % (id + 1); arguments = raw(in); break;
          case 6: { ReleaseIn release{}; release.fh = random() % (id + 1); opcode = random() % 2 == 0 ? kRelease : kReleasedir; arguments = raw(release); break; }
          case 7: opcode = kInterrupt; arguments = raw(InterruptIn{id - random() % 5}); break;
          default: opcode = kGetattr; arguments = std::string(16, '\0');
        }
        std::string bytes = requestBytes(opcode, id, node, arguments);
        server.handle(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), scratch);
      }
    });
  }
  for (std::thread& thread : kernel) thread.join();
  server.end();
  stop.store(true);
  script.join();
  ticker.join();
  CHECK_EQUAL(server.gauges().pending, 0);
  close(fd);
}
