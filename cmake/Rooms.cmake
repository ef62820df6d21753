# A room is a folder of C files and one static library. ROOMS lists every room it may include; a file
# that includes any other room does not build, because only these are found on its include path.

set(OSTRAKA_WARNINGS -Wall -Wextra -Wconversion -Wshadow -Wvla -Wmissing-prototypes
    -Wstrict-prototypes -Wformat=2 -Wno-format-truncation -Werror)

# Makes build/include/ROOM-only/ROOM -> source/ROOM, so that "-I build/include/ROOM-only" finds that
# room alone.
function(ostraka_room_include_dir room out)
    set(dir ${CMAKE_BINARY_DIR}/include/${room}-only)
    file(MAKE_DIRECTORY ${dir})
    file(CREATE_LINK ${CMAKE_SOURCE_DIR}/${room} ${dir}/${room} SYMBOLIC)
    set(${out} ${dir} PARENT_SCOPE)
endfunction()

# Lets `target` include the rooms listed, and no others.
function(ostraka_may_include target)
    foreach(room ${ARGN})
        ostraka_room_include_dir(${room} dir)
        target_include_directories(${target} PRIVATE ${dir})
        if(room STREQUAL "proto")
            target_include_directories(${target} PRIVATE ${CMAKE_BINARY_DIR}/generated)
            add_dependencies(${target} ostraka_messages)
        endif()
    endforeach()
endfunction()

function(ostraka_room room)
    cmake_parse_arguments(ARG "" "" "ROOMS;LIBRARIES;SOURCES" ${ARGN})
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${room}/*.c)
    if(NOT sources)
        return()
    endif()
    add_library(${room} STATIC ${sources} ${ARG_SOURCES})
    target_compile_options(${room} PRIVATE ${OSTRAKA_WARNINGS})
    ostraka_may_include(${room} ${room} ${ARG_ROOMS})
    target_link_libraries(${room} PUBLIC ${ARG_ROOMS} ${ARG_LIBRARIES})
endfunction()
