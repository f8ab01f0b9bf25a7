//! Looking at graphs.

use crate::support::succeed;

#[test]
fn the_text_form_has_a_line_for_each_node() {
    let text = succeed(["graph", "digits"]).stdout;
    for part in ["%image: f32[batch,8,8] = placeholder", "= matmul", "\nupdate %", "\nreturn %"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let inference = succeed(["graph", "digits", "--inference", "--set", "width=24"]).stdout;
    assert!(!inference.contains("update %") && inference.contains("f32[64,24]"), "{inference}");
}

#[test]
fn each_pass_is_explained_and_the_plan_is_costed() {
    let text = succeed(["graph", "digits", "--explain", "--batch", "7"]).stdout;
    for part in ["captured\n", "fold_constants: ", "dead_code: ", ", unchanged\n", "plan batch=7: ", "FLOP", "buffers"]
    {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn pictures_are_drawn() {
    let dot = succeed(["graph", "digits", "--format", "dot"]).stdout;
    assert!(dot.starts_with("digraph") && dot.trim_end().ends_with('}') && dot.contains("image"), "{dot}");
    let svg = succeed(["graph", "digits", "--format", "svg"]).stdout;
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
    for part in [">image<", ">label<", ">optimizer<", ">grad<"] {
        assert!(svg.contains(part), "{part}\n{svg}");
    }
}
