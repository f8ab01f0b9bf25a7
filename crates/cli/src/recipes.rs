//! `thalweg recipes`: what can be trained.

use std::process::ExitCode;

use thalweg::train::Length;
use thalweg_zoo::{Defaults, Recipe, Setting, Source};

use crate::output;

/// Lists the recipes.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let blocks: Vec<String> = thalweg_zoo::recipes().iter().map(|recipe| block(*recipe)).collect();
    output::line(blocks.join("\n\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// One recipe: what it is, where its data come from, what it does where nothing else is said.
fn block(recipe: &dyn Recipe) -> String {
    let data = match recipe.source() {
        Source::Embedded => "in the program".to_string(),
        Source::Folder(what) => format!("--data DIR with {what}"),
    };
    let mut lines = vec![format!("{}: {}", recipe.name(), recipe.about()), format!("  data      {data}")];
    match recipe.models() {
        [] => lines.push(format!("  defaults  {}", defaults(recipe, None))),
        models => {
            let width = models.iter().map(|model| model.name.len()).max().unwrap_or(0);
            for model in models {
                lines.push(format!("  --model {:width$}  {}", model.name, model.about));
                lines.push(format!("          {:width$}  {}", "", defaults(recipe, Some(model.name))));
            }
        }
    }
    if let Some(weights) = recipe.weights() {
        lines.push(format!("  --weights FILE  {weights}"));
    }
    let settings = recipe.settings();
    let assignment = |setting: &Setting| format!("{}={}", setting.name, setting.default);
    let width = settings.iter().map(|setting| assignment(setting).len()).max().unwrap_or(0);
    for setting in settings {
        let Setting { about, range: (least, greatest), .. } = setting;
        lines.push(format!("  --set {:width$}  {about}, from {least} to {greatest}", assignment(setting)));
    }
    lines.join("\n")
}

fn defaults(recipe: &dyn Recipe, model: Option<&str>) -> String {
    let Defaults { length, batch, lr, optimizer } = recipe.defaults(model);
    let length = match length {
        Length::Epochs(epochs) => format!("--epochs {epochs}"),
        Length::Steps(steps) => format!("--steps {steps}"),
    };
    format!("{length} --batch {batch} --lr {lr} --optimizer {optimizer}")
}
