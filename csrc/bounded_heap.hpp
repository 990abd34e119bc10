// The best few of many, kept as a heap with the worst of them in front.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace mmsrarec {

// Puts `value` into `heap` if it is among the best `most`, 1 or more, of all that were offered; returns
// whether it was. `better` orders them, the best first; std::ranges::sort_heap(heap, better) sorts them so at
// the end.
template <typename Value, typename Better>
bool offer(const Value& value, size_t most, std::vector<Value>& heap, const Better& better) {
    if (heap.size() == most) {
        if (!better(value, heap.front())) return false;
        std::ranges::pop_heap(heap, better);
        heap.pop_back();
    }
    heap.push_back(value);
    std::ranges::push_heap(heap, better);
    return true;
}

}  // namespace mmsrarec
