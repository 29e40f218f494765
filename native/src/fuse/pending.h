// Requests of the kernel that wait for JavaScript or for a range of a file, with their deadlines.
// Not thread-safe: the Server's lock guards it.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "attributes.h"

namespace imgfs::fuse {

struct Backing;

struct Pending {
  // What every request says of itself.
  void belongTo(const InHeader& header) {
    unique = header.unique;
    nodeid = header.nodeid;
    opcode = header.opcode;
    uid = header.uid;
    gid = header.gid;
    pid = header.pid;
  }

  uint64_t id = 0;
  uint64_t unique = 0;
  uint64_t nodeid = 0;
  uint64_t fh = 0;
  uint64_t offset = 0;
  uint32_t opcode = 0;
  uint32_t size = 0;
  uint32_t flags = 0;
  uint32_t uid = 0, gid = 0, pid = 0;  // of who called
  bool interrupted = false;           // a signal came that did not end the wait
  bool byScript = false;              // a read whose file does not have what it should
  std::string name;
  std::string payload;                // bytes that JavaScript fetches with the job: data of a write
  std::shared_ptr<Backing> parkedOn;  // set while it waits for a fill and JavaScript does not know it
};

class PendingTable {
 public:
  // `slowTimeout` is for operations that wait for a store to take something. 0: no deadline.
  PendingTable(Millis timeout, Millis slowTimeout) : timeouts_{timeout, slowTimeout} {}

  // Takes the request in and gives it an id.
  uint64_t add(Pending request, Millis now, bool slow = false);
  Pending* find(uint64_t id);
  Pending* findUnique(uint64_t unique);
  // Removes it; false when it was answered before.
  bool take(uint64_t id, Pending& out);
  // Ids whose deadline has passed.
  std::vector<uint64_t> due(Millis now);
  std::vector<uint64_t> interrupted() const;
  std::vector<uint64_t> all() const;
  size_t size() const { return requests_.size(); }

 private:
  const Millis timeouts_[2];
  uint64_t lastId_ = 0;
  std::unordered_map<uint64_t, Pending> requests_;
  std::unordered_map<uint64_t, uint64_t> byUnique_;
  // All requests of a kind have the same timeout, so the order of arrival is the order of deadlines.
  std::deque<std::pair<Millis, uint64_t>> deadlines_[2];
};

}  // namespace imgfs::fuse
