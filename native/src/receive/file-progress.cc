#include "file-progress.h"

namespace imgfs {

FileProgress& FileProgress::shared() {
  // Never destroyed: a writing thread may outlive the end of main().
  static auto* progress = new FileProgress;
  return *progress;
}

uint64_t FileProgress::listen(Listener listener) {
  std::lock_guard<std::mutex> lock(mutex_);
  listeners_.emplace(++lastId_, std::move(listener));
  return lastId_;
}

void FileProgress::unlisten(uint64_t id) {
  std::lock_guard<std::mutex> lock(mutex_);
  listeners_.erase(id);
}

void FileProgress::tell(Event event, const Range& range) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [id, listener] : listeners_) listener(event, range);
}

}  // namespace imgfs
