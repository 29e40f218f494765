// Range sets, requests, packed entries, listings, the inode table, pending requests, signals.
#include <random>

#include "../src/fuse/interrupt.h"
#include "check.h"
#include "fake-kernel.h"

using namespace imgfs::fuse;

TEST(rangesAgree, "a range set agrees with a bitmap") {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    RangeSet set;
    std::vector<bool> bits(300);
    for (int step = 0; step < 30; ++step) {
      uint64_t a = random() % 300, b = random() % 300;
      set.add({a, b});
      for (uint64_t i = a; i < b; ++i) bits[i] = true;
      uint64_t e = random() % 300, f = e + random() % 20;
      set.remove({e, f});
      for (uint64_t i = e; i < std::min<uint64_t>(f, 300); ++i) bits[i] = false;
      uint64_t c = random() % 300, d = c + random() % (300 - c);
      bool all = true;
      for (uint64_t i = c; i < d; ++i) all = all && bits[i];
      CHECK_EQUAL(set.covers({c, d}), all);
      std::vector<bool> missing(300);
      for (Range gap : set.missing({c, d})) {
        CHECK(gap.begin < gap.end && gap.begin >= c && gap.end <= d);
        for (uint64_t i = gap.begin; i < gap.end; ++i) missing[i] = true;
      }
      for (uint64_t i = c; i < d; ++i) CHECK_EQUAL(static_cast<bool>(missing[i]), !bits[i]);
    }
  }
}

TEST(rangesMerge, "adjacent ranges are one") {
  RangeSet set;
  for (uint64_t i = 0; i < 1000; ++i) set.add({i * 10, i * 10 + 10});
  CHECK_EQUAL(set.size(), 1);
  CHECK(set.covers({0, 10000}) && !set.covers({0, 10001}));
}

TEST(requestShort, "a request that is too short, too long or unterminated is refused") {
  std::string whole = requestBytes(kLookup, 1, 1, text("name"));
  for (size_t length = 0; length < whole.size(); ++length) {
    Request request;
    CHECK(!request.parse(reinterpret_cast<const uint8_t*>(whole.data()), length));
  }
  Request request;
  CHECK(request.parse(reinterpret_cast<const uint8_t*>(whole.data()), whole.size()));
  std::string_view name;
  CHECK(request.takeString(name) && name == "name" && request.left() == 0 && !request.takeString(name));
  std::string open = requestBytes(kLookup, 1, 1, "name");
  CHECK(request.parse(reinterpret_cast<const uint8_t*>(open.data()), open.size()) && !request.takeString(name));
}

TEST(packedMalformed, "numbers that are no inode, size or lifetime are refused") {
  auto refused = [](size_t at, double value) {
    std::string bytes = packEntry(5, 0100644, 10, "name");
    std::memcpy(bytes.data() + at, &value, sizeof(value));
    PackedEntry entry;
    size_t position = 0;
    return !unpackEntry(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), position, entry);
  };
  for (double bad : {-1.0, 0.5, 1e300, __builtin_nan("")})
    for (size_t at : {0, 8, 16, 24, 32}) CHECK(refused(at, bad));
  CHECK(refused(0, 0));
  CHECK(!refused(24, 9007199254740992.0));
}

TEST(timesBefore1970, "times before 1970 and their nanoseconds") {
  Attributes attributes;
  attributes.mtimeNs = -1;
  attributes.ctimeNs = 1700000000123456789;
  WireAttr wire = toWire(attributes);
  CHECK_EQUAL(static_cast<int64_t>(wire.mtime), -1);
  CHECK_EQUAL(wire.mtimeNsec, 999999999u);
  CHECK_EQUAL(wire.ctime, 1700000000u);
  CHECK_EQUAL(wire.ctimeNsec, 123456789u);
}

TEST(listingFinds, "a listing is found by cookie and by name, also with cookies that jump back") {
  for (bool ascending : {true, false}) {
    Listing listing(0);
    for (uint64_t i = 0; i < 500; ++i) {
      std::string bytes = packEntry(i + 10, 0100644, 0, "name" + std::to_string(i), ascending ? i * 3 + 1 : 1000 - i);
      listing.append(unpacked(bytes), 0, false);
    }
    listing.index();
    for (uint64_t i = 0; i < 500; ++i) {
      size_t position = 0;
      CHECK(listing.find(ascending ? i * 3 + 1 : 1000 - i, 0, position));
      CHECK_EQUAL(position, i + 1);
      const ListedEntry* entry = listing.byName("name" + std::to_string(i));
      CHECK(entry != nullptr && entry->ino == i + 10);
    }
    size_t position = 0;
    CHECK(!listing.find(5000, 0, position) && listing.byName("absent") == nullptr);
  }
}

TEST(countsComeBack, "lookups are given back once the kernel forgot and nothing pins") {
  InodeTable table(100);
  Forgets forgets;
  Attributes attributes;
  attributes.ino = 5;
  table.put(attributes, 1000, 0, 1).kernel += 1;
  table.put(attributes, 1000, 0, 1).kernel += 1;
  table.addKernelLookups(5, 3);
  table.pin(5);
  table.forget(5, 5, forgets);
  CHECK(forgets.empty());
  table.unpin(5, forgets);
  CHECK_EQUAL(forgets.size(), 1);
  CHECK(forgets[0].first == 5 && forgets[0].second == 2);
  CHECK(table.find(5) == nullptr);
  table.forget(5, 100, forgets);
  table.unpin(5, forgets);
  CHECK_EQUAL(forgets.size(), 1);
}

TEST(listingsBounded, "kept listings stay within their bound, least recently used first") {
  InodeTable table(100);
  Forgets forgets;
  for (uint64_t directory = 1000; directory < 1010; ++directory) {
    auto listing = std::make_shared<Listing>(0);
    for (uint64_t i = 0; i < 30; ++i) {
      std::string bytes = packEntry(directory * 100 + i, 0100644, 0, "n" + std::to_string(i), i + 1);
      PackedEntry entry = unpacked(bytes);
      table.put(entry.attributes, 1000, 0, 1);
      table.pin(entry.attributes.ino);
      listing->append(entry, 0, true);
    }
    listing->setEnd();
    listing->index();
    table.keepListing(directory, std::move(listing), forgets);
    table.listing(1000);
  }
  CHECK(table.listed() <= 100);
  CHECK(table.listing(1000) != nullptr && table.listing(1009) != nullptr && table.listing(1005) == nullptr);
  CHECK_EQUAL(forgets.size(), 7 * 30);
}

TEST(deadlinesInOrder, "deadlines of both kinds pass when they are due") {
  PendingTable table(10, 100);
  uint64_t quick = table.add({}, 0), slow = table.add({}, 0, true), answered = table.add({}, 0);
  Pending out;
  CHECK(table.take(answered, out) && !table.take(answered, out));
  CHECK(table.due(9).empty());
  std::vector<uint64_t> due = table.due(10);
  CHECK(due.size() == 1 && due[0] == quick);
  table.take(quick, out);
  due = table.due(100);
  CHECK(due.size() == 1 && due[0] == slow);
}

TEST(signalsJudged, "signals that end what a user does end a wait, others do not") {
  auto status = [](uint64_t pending, uint64_t caught, uint64_t blocked = 0) {
    char text[256];
    std::snprintf(text, sizeof(text), "Name:\tx\nSigPnd:\t%016llx\nShdPnd:\t%016x\nSigBlk:\t%016llx\nSigIgn:\t0\nSigCgt:\t%016llx\n",
                  static_cast<unsigned long long>(pending), 0, static_cast<unsigned long long>(blocked),
                  static_cast<unsigned long long>(caught));
    return endsWait(std::string_view(text));
  };
  auto bit = [](int signal) { return 1ull << (signal - 1); };
  CHECK(status(bit(9), 0) && status(bit(2), bit(2)) && status(bit(15), 0) && status(bit(14), bit(14)));
  CHECK(!status(bit(17), bit(17)) && !status(bit(23), bit(23)) && !status(bit(28), 0) && !status(bit(20), 0));
  CHECK(!status(bit(27), bit(27)) && status(bit(27), 0));
  CHECK(!status(bit(40), bit(40)) && status(bit(40), 0));
  CHECK(!status(bit(2), 0, bit(2)) && !status(0, 0));
  CHECK(endsWait(std::string_view("nothing of the kind")) && endsWait(0u));
}
