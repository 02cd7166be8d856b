//! The constructor: gives this process its leaf, before its program starts.

use flexmig_core::rank::{Binding, Decision, Problem, Reason, Var, decide, record};
use flexmig_core::text::Text;

use crate::environment::{self, Setter};
use crate::hook;
use crate::log::{Level, check_level, say};

#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = start;

extern "C" fn start() {
    if secure() {
        return;
    }
    hook::remember_real();
    match decide(&environment::view(), None) {
        Decision::Leave(Reason::Users) => {
            say(
                Level::Info,
                &[b"not bound: CUDA_VISIBLE_DEVICES is the user's own: nothing is changed"],
            );
        }
        Decision::Leave(_) => (),
        Decision::Bind(binding) => bind(&binding),
        Decision::Complain(problem) => {
            say(Level::Error, &[problem.line().as_bytes()]);
            let mark = record::said_mark(problem.hash());
            if let Some(setter) = Setter::find() {
                setter.set(Var::Bound.name(), mark.as_c_str());
            }
        }
        Decision::Refuse(problem) => refuse(&problem),
    }
}

/// A program that runs with more rights than its caller: none of our business.
pub fn secure() -> bool {
    // SAFETY: no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

fn bind(binding: &Binding<'_>) {
    let Some(setter) = Setter::find() else {
        say(Level::Error, &[b"not bound: libc's setenv was not found: use flexmig exec"]);
        return;
    };
    check_level();
    if let Some(note) = binding.note {
        say(Level::Warn, &[note.line().as_bytes()]);
    }
    let mut leaf = Text::<12>::new();
    leaf.push_number(u64::from(binding.leaf));
    say(Level::Info, &[b"bound to leaf ", leaf.as_bytes(), b", ", binding.uuid]);
    binding.edits(|var, value| {
        // The longest value is a record.
        let mut text = Text::<320>::new();
        text.push(value);
        setter.set(var.name(), text.as_c_str());
    });
}

fn refuse(problem: &Problem<'_>) {
    say(Level::Error, &[problem.line().as_bytes()]);
    // SAFETY: takes a number and never returns. Not exit: no constructor has run, nor may anything
    // else of the program.
    unsafe { libc::_exit(1) }
}
