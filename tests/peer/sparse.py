# SPDX-License-Identifier: Apache-2.0
"""Section 5, sparse flows: which packets of one side go as DATA_SPARSE."""

import inner
import wire

CAPABILITIES = wire.TAKES_SPARSE | wire.MARKS_SPARSE
SMALL = 256  # bytes of an echo that is marked
UNMARKED_TIME = 0.1
FLOWS = 1024


class Marker:
    """Marks small echo requests and replies, and counts what went and came with a mark."""

    def __init__(self, capabilities):
        self.capabilities = capabilities
        self.sent = self.received = 0
        self._unmarked = {}  # flow: when the last packet of it went without a mark

    def kind(self, packet, other, now):
        """DATA or DATA_SPARSE for a packet that is sent now to a side with the capabilities `other`."""
        flow = inner.flow(packet)
        allowed = self.capabilities & wire.MARKS_SPARSE and other & wire.TAKES_SPARSE
        if allowed and len(packet) <= SMALL and inner.is_echo(packet) and not self._follows_unmarked(flow, now):
            self.sent += 1
            return wire.DATA_SPARSE
        if len(self._unmarked) >= FLOWS:
            self._unmarked = {f: sent for f, sent in self._unmarked.items() if now < sent + UNMARKED_TIME}
        self._unmarked[flow] = now
        return wire.DATA

    def _follows_unmarked(self, flow, now):
        return flow in self._unmarked and now < self._unmarked[flow] + UNMARKED_TIME

    def check(self, kind):
        """Drops DATA_SPARSE before its tag is looked at, where this side did not say that it takes it."""
        if kind == wire.DATA_SPARSE and not self.capabilities & wire.TAKES_SPARSE:
            raise wire.Drop("type")

    def count(self, kind):
        self.received += kind == wire.DATA_SPARSE
