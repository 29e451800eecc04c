"""Coroutines in gdb: who they are, what they wait for, and where.

    (gdb) source runtime/gdb/runtime-gdb.py
    (gdb) info coroutines
    (gdb) coroutine 7 bt          or by its name

Works on a live process and on a core file, with and without debug information: all is found from one table that the
program carries, `runtime::debugger::LAYOUT`. A parked coroutine keeps nothing in the processor's registers but three,
which lie on its stack, so its frames are found as those of any function that has called another.

x86_64 and aarch64.
"""

import re
import struct

import gdb
import gdb.unwinder

TOKENS = ["runnable", "parked", "notified", "finished"]


class Memory:
    """The program's memory, a word at a time."""

    def __init__(self):
        self.inferior = gdb.selected_inferior()

    def bytes(self, address, count):
        return bytes(self.inferior.read_memory(address, count))

    def word(self, address):
        return struct.unpack("<Q", self.bytes(address, 8))[0]

    def words(self, address, count):
        return struct.unpack("<%dQ" % count, self.bytes(address, 8 * count))

    def text(self, address, length):
        return self.bytes(address, min(length, 200)).decode("utf-8", "replace")


class Layout:
    """`runtime::debugger::LAYOUT`, word by word; see there."""

    def __init__(self, memory):
        listing = gdb.execute("info variables runtime::debugger::LAYOUT", to_string=True)
        address = re.search(r"(0x[0-9a-f]+)\s+runtime::debugger::LAYOUT", listing)
        if address:
            address = int(address.group(1), 16)
        else:
            address = int(gdb.parse_and_eval("&'runtime::debugger::LAYOUT'"))
        if memory.bytes(address, 8) != b"coro-2\0\0":
            raise gdb.GdbError("this program's runtime is of another version than this script")
        words = memory.words(address + 8, 18)
        self.registry = words[0]
        self.slab = words[1:6]
        self.base = words[6:9]
        self.context_bytes = words[9]
        self.label = words[10:13]
        self.task = words[13:16]
        reasons, count = words[16:18]
        self.reasons = [
            memory.text(*memory.words(reasons + 16 * number, 2)) for number in range(count)
        ]


class Coroutine:
    """One that has started and not ended."""

    def __init__(self, memory, layout, label, low, base, running):
        self.low, self.base = low, base
        self.id = memory.word(label + layout.label[0])
        name = memory.word(label + layout.label[1])
        self.name = memory.text(*memory.words(name, 2)) if name else None
        site = memory.word(label + layout.label[2])
        file, length, position = memory.words(site, 3)
        self.spawned_at = "%s:%d" % (memory.text(file, length), position & 0xFFFFFFFF)
        task = label - layout.task[0]
        token = memory.bytes(task + layout.task[1], 1)[0]
        reason = memory.bytes(task + layout.task[2], 1)[0]
        # The lower of two stack pointers, the present one and the first, that its context keeps.
        header = ((base - layout.context_bytes - 16) & ~63) + 16
        inside = [word for word in memory.words(header, 5) if low + 1 < word < header]
        self.stack_pointer = min(inside) if inside else None
        self.thread = next((number for number, at in running if low <= at <= base), None)
        if self.thread is not None:
            self.state = "runs on thread %d" % self.thread
        elif TOKENS[token] == "parked" and reason < len(layout.reasons):
            self.state = "parked: " + layout.reasons[reason]
        else:
            self.state = TOKENS[token]


def stack_pointers():
    """Each thread's number and where its stack pointer is."""
    selected = gdb.selected_thread()
    found = []
    for thread in gdb.selected_inferior().threads():
        thread.switch()
        found.append((thread.num, int(gdb.newest_frame().read_register("sp"))))
    if selected is not None:
        selected.switch()
    return found


def coroutines():
    memory, running = Memory(), stack_pointers()
    layout = Layout(memory)
    found = []
    record = memory.word(layout.registry)
    while record:
        start, end, usable, guard = (memory.word(record + at) for at in layout.slab[:4])
        stride = usable + guard
        colours, colour_bytes, above = layout.base
        for index in range((end - start) // stride if end else 0):
            low = start + index * stride
            base = low + stride - above - (index % colours) * colour_bytes
            try:
                label = memory.word(base)
                if label:
                    found.append(Coroutine(memory, layout, label, low, base, running))
            except gdb.MemoryError:
                continue  # never touched, and so not in the core file
        record = memory.word(record + layout.slab[4])
    return sorted(found, key=lambda coroutine: coroutine.id)


def is_x86():
    return "x86-64" in gdb.selected_inferior().architecture().name()


class Switched(gdb.unwinder.Unwinder):
    """Says of the innermost frame that a suspended coroutine has called it."""

    def __init__(self):
        super().__init__("coroutine")
        self.enabled = True
        self.stack_pointer = None

    def __call__(self, pending):
        if self.stack_pointer is None:
            return None
        pointer, memory = self.stack_pointer, Memory()
        self.stack_pointer = None  # the frames behind it are usual ones
        word = gdb.lookup_type("unsigned long")

        class Id:
            sp = gdb.Value(pointer).cast(word)
            pc = pending.read_register("pc")

        info = pending.create_unwind_info(Id)
        if is_x86():
            rip, rbx, rbp = memory.words(pointer, 3)
            saved = {"rip": rip, "rbx": rbx, "rbp": rbp, "rsp": pointer + 24}
        else:
            x19, x29, pc = memory.words(pointer, 3)
            saved = {"pc": pc, "x19": x19, "x29": x29, "sp": pointer + 32}
        for name, value in saved.items():
            info.add_saved_register(name, gdb.Value(value).cast(word))
        return info


class InfoCoroutines(gdb.Command):
    """List the coroutines that have started and not ended."""

    def __init__(self):
        super().__init__("info coroutines", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        found = coroutines()
        for each in found:
            name = each.name or "<unnamed>"
            print("%6d  %-24s %-24s spawned at %s" % (each.id, name, each.state, each.spawned_at))
        print("%d coroutines" % len(found))


class ShowCoroutine(gdb.Command):
    """coroutine N bt: show the frames of the coroutine of this number, or name."""

    def __init__(self):
        super().__init__("coroutine", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = gdb.string_to_argv(argument)
        if len(words) != 2 or words[1] != "bt":
            raise gdb.GdbError("usage: coroutine NUMBER bt")
        found = [each for each in coroutines() if words[0] in (str(each.id), each.name)]
        if not found:
            raise gdb.GdbError("no coroutine has this number; see: info coroutines")
        each = found[0]
        print("coroutine %d '%s', %s" % (each.id, each.name or "<unnamed>", each.state))
        if each.thread is not None:
            print("its frames are those of its worker: thread apply %d bt" % each.thread)
            return
        unwinder.stack_pointer = each.stack_pointer
        gdb.invalidate_cached_frames()
        try:
            show(gdb.newest_frame().older(), each)
        finally:
            unwinder.stack_pointer = None
            gdb.invalidate_cached_frames()


def show(frame, coroutine):
    number = 0
    while frame is not None and frame.is_valid():
        pointer = int(frame.read_register("sp"))
        if not coroutine.low <= pointer <= coroutine.base:
            break  # the worker's, who resumed it last
        name = frame.name() or "??"
        line = frame.find_sal()
        place = " at %s:%d" % (line.symtab.filename, line.line) if line.symtab else ""
        print("#%-3d %s%s" % (number, name, place))
        frame, number = frame.older(), number + 1


unwinder = Switched()
gdb.unwinder.register_unwinder(None, unwinder, replace=True)
InfoCoroutines()
ShowCoroutine()
