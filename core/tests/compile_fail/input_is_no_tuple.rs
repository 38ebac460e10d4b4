//! A bolt takes a type that cannot be sent between tasks.

use std::rc::Rc;

use topo_core::{Bolt, Emitter, Fail};

struct Split;

impl Bolt for Split {
    type In = Rc<str>;
    type Out = ();
    async fn execute(&mut self, _line: Rc<str>, _out: &mut Emitter<()>) -> Result<(), Fail> {
        Ok(())
    }
}

fn main() {}
