#include "pending.h"

namespace imgfs::fuse {

uint64_t PendingTable::add(Pending request, Millis now, bool slow) {
  request.id = ++lastId_;
  size_t kind = slow ? 1 : 0;
  if (timeouts_[kind] > 0) deadlines_[kind].emplace_back(now + timeouts_[kind], request.id);
  byUnique_[request.unique] = request.id;
  uint64_t id = request.id;
  requests_.emplace(id, std::move(request));
  return id;
}

Pending* PendingTable::find(uint64_t id) {
  auto found = requests_.find(id);
  return found == requests_.end() ? nullptr : &found->second;
}

Pending* PendingTable::findUnique(uint64_t unique) {
  auto found = byUnique_.find(unique);
  return found == byUnique_.end() ? nullptr : find(found->second);
}

bool PendingTable::take(uint64_t id, Pending& out) {
  auto found = requests_.find(id);
  if (found == requests_.end()) return false;
  out = std::move(found->second);
  requests_.erase(found);
  auto unique = byUnique_.find(out.unique);
  if (unique != byUnique_.end() && unique->second == id) byUnique_.erase(unique);
  return true;
}

std::vector<uint64_t> PendingTable::due(Millis now) {
  std::vector<uint64_t> ids;
  for (auto& deadlines : deadlines_) {
    while (!deadlines.empty()) {
      auto [deadline, id] = deadlines.front();
      bool waits = requests_.count(id) != 0;
      if (waits && deadline > now) break;
      if (waits) ids.push_back(id);
      deadlines.pop_front();
    }
  }
  return ids;
}

std::vector<uint64_t> PendingTable::interrupted() const {
  std::vector<uint64_t> ids;
  for (const auto& [id, request] : requests_)
    if (request.interrupted) ids.push_back(id);
  return ids;
}

std::vector<uint64_t> PendingTable::all() const {
  std::vector<uint64_t> ids;
  for (const auto& [id, request] : requests_) ids.push_back(id);
  return ids;
}

}  // namespace imgfs::fuse
