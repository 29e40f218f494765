// Decoding tables of deflate: one look-up for a code of up to `rootBits` bits, a second one for longer codes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace imgfs::inflating {

constexpr unsigned kMaxCodeBits = 15;

// An entry of a table, all that decoding needs in one word:
//   bits 0-5    bits to consume: of the code (behind the root bits in a second table) and of the extra bits
//   bits 8-11   those of the code alone: the extra bits begin there. In a link: bits that the second table looks at
//   bits 12-15  what it is when it is neither literal, length nor distance
//   bits 16-30  literal, base of a length or distance, symbol of a code of code lengths, or place of a second table
//   bit 31      literal
using Entry = uint32_t;

constexpr Entry kLiteral = 1u << 31;
constexpr Entry kSpecial = 1u << 15;
constexpr Entry kLink = 1u << 14;
constexpr Entry kEndOfBlock = 1u << 13;
constexpr Entry kInvalid = 1u << 12;

constexpr unsigned consumedBits(Entry entry) { return entry & 63; }
constexpr unsigned codeBits(Entry entry) { return entry >> 8 & 15; }
constexpr unsigned valueOf(Entry entry) { return entry >> 16 & 0x7fff; }

// Which alphabet a table is of.
enum class Alphabet : uint8_t { codeLengths, literals, distances };

// Eleven bits hold nearly every literal and short length of real layers, and 8 KiB of table leave room in the first
// cache. Distances have flatter codes.
constexpr unsigned kCodeLengthRoot = 7;
constexpr unsigned kLiteralRoot = 11;
constexpr unsigned kDistanceRoot = 8;

// Upper bounds of the entries that any code needs (zlib's examples/enough.c: 288 symbols at root 11, 32 at root 8).
constexpr size_t kCodeLengthEntries = 1 << kCodeLengthRoot;
constexpr size_t kLiteralEntries = 2342;
constexpr size_t kDistanceEntries = 402;

// Fill `table` for the code whose symbol s has `lengths[s]` bits, 0: not used. False when there is no such code: too
// many short ones, or too few where a code must be complete. A code of literals or distances may be one single bit
// (RFC 1951, 3.2.7), and one without any symbol is an error only when a symbol is asked for.
bool buildTable(Alphabet alphabet, const uint8_t* lengths, size_t count, Entry* table);

}  // namespace imgfs::inflating
