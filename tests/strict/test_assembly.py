"""Assembly as text: what LLVM reads is what was meant."""

from __future__ import annotations

import struct

import llvmlite.binding as llvm
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lftool_strict.lanes.ir import Builder, FunctionType, IntType, Module, VectorType, VoidType, vector
from lftool_strict.lanes.values import BYTE, FLOAT, HALF, INT, LONG, Value

FINITE = st.floats(width=32, allow_nan=False)


@given(FINITE)
def test_a_float_is_written_with_all_its_bits(number):
    text = FLOAT(number).text
    assert struct.unpack("<d", struct.pack("<Q", int(text, 16)))[0] == number
    assert (text[2] >= "8") == (str(number)[0] == "-")


def test_a_vector_of_equal_numbers_is_written_once():
    assert [vector(FLOAT, [1.0] * 16).typed, vector(INT, [1, 2]).typed, vector(FLOAT, [0.0, -0.0]).typed] == [
        "<16 x float> splat (float 0x3FF0000000000000)",
        "<2 x i32> <i32 1, i32 2>",
        "<2 x float> <float 0x0000000000000000, float 0x8000000000000000>",
    ]


def test_types_are_equal_if_they_are_written_alike():
    assert (VectorType(INT, 4) == VectorType(IntType(32), 4), VectorType(INT, 4) == VectorType(FLOAT, 4)) == (
        True,
        False,
    )
    assert len({VectorType(INT, 4), VectorType(IntType(32), 4)}) == 1


def test_a_function_is_declared_once():
    module = Module("it")
    kind = FunctionType(FLOAT, (FLOAT,))
    assert module.function(kind, "llvm.sqrt.f32") is module.function(kind, "llvm.sqrt.f32")
    assert str(module) == '; ModuleID = "it"\ndeclare float @llvm.sqrt.f32(float)\n'


def test_every_instruction_is_one_that_llvm_knows():
    """A program with each of them, of scalars and vectors, passes LLVM's verifier."""
    module = Module("it")
    pointer = BYTE.as_pointer()
    function = module.function(FunctionType(VoidType(), (pointer, INT.as_pointer(), INT, FLOAT, LONG)), "it")
    build = Builder(function.append_basic_block("entry"))
    raw, numbers, number, real, index = function.args
    table = module.table(FLOAT, [0.5, 1.5], "it.table")
    room = build.alloca(VectorType(INT, 4), 64)
    reals, integers = build.spread(real, 4), build.spread(number, 4)
    for operator in ("fadd", "fsub", "fmul", "fdiv"):
        reals = build.binary(operator, reals, vector(FLOAT, [2.0] * 4))
    for operator in ("add", "sub", "mul", "udiv", "urem", "and", "or", "xor", "shl", "lshr"):
        integers = build.binary(operator, integers, vector(INT, [3, 1, 4, 1]))
        number = build.binary(operator, number, INT(3))
    integers = build.not_(build.neg(integers))
    number = build.not_(build.neg(number))
    mask = build.binary(
        "or", build.icmp_signed("<", integers, vector(INT, [0] * 4)), build.icmp_unsigned(">", integers, integers)
    )
    mask = build.binary("and", mask, build.not_(build.fcmp_ordered("<=", reals, build.fneg(reals))))
    mask = build.binary("and", mask, build.fcmp_unordered("!=", reals, reals))
    integers = build.select(mask, integers, build.fptosi(reals, VectorType(INT, 4)))
    reals = build.sitofp(integers, VectorType(FLOAT, 4))
    halves = build.load(build.bitcast(raw, VectorType(HALF, 4).as_pointer()), align=1)
    reals = build.binary("fadd", reals, build.fpext(halves, VectorType(FLOAT, 4)))
    bits = build.bitcast(reals, VectorType(INT, 4))
    build.store(build.shuffle_vector(bits, integers, vector(INT, [0, 5, 2, 7])), room)
    bytes_ = build.trunc(build.load(room), VectorType(BYTE, 4))
    build.store(
        build.zext(bytes_, VectorType(INT, 4)),
        build.bitcast(build.gep(raw, index), VectorType(INT, 4).as_pointer()),
        align=1,
    )
    one = build.extract_element(build.insert_element(integers, number, INT(1)), INT(2))
    build.store(build.binary("add", one, build.count_zeros(number)), build.gep(numbers, index))
    build.load(build.gep(table, index))
    loop, after = function.append_basic_block("loop"), function.append_basic_block("after")
    before = build.block
    build.branch(loop)
    build.position_at_end(loop)
    counter = build.phi(LONG)
    counter.add_incoming(LONG(0), before)
    following = build.binary("add", counter, LONG(1))
    counter.add_incoming(following, build.block)
    build.cbranch(build.icmp_signed("<", following, index), loop, after)
    build.position_at_end(after)
    build.call(function, function.args)
    build.ret_void()
    read = llvm.parse_assembly(str(module))
    read.verify()
    assert [found.name for found in read.functions if not found.is_declaration] == ["it"]


def test_integers_are_not_divided_like_floats():
    class Anything:
        def like(self, other, model):
            return model

    with pytest.raises(TypeError, match=r"^there is no such operation on i32$"):
        _ = Value(Anything(), INT(1)) / 2
